import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSTransfer

@Suite(.onThreads) struct TransferTests {
  /// What a test starts with: a directory with `from` and `to` in it.
  private func place(_ script: String) throws -> (TemporaryDirectory, String) {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    try shell("cd \(path); mkdir from to; cd from; \(script)")
    return (directory, path)
  }

  /// Everything that `find` tells of a tree, contents excepted.
  private func listing(_ path: String) throws -> String {
    try shell(
      "cd \(path); find . -mindepth 1 -printf '%P %y %m %T@ %l\\n' | grep -v '^[^ ]* l' | sort; find . -type l -printf '%P %l %T@\\n' | sort"
    )
  }

  @Test func `a tree arrives as it is`() async throws {
    let (directory, path) = try place(
      #"""
      mkdir -p t/empty t/sub/deep t/locked; head -c 300000 /dev/urandom > t/sub/large; : > t/nothing
      echo x > "t/$(printf 'new\nline \033[31m')"; echo y > t/grün; printf '#!' > t/run; chmod 4755 t/run; chmod 1777 t/sub
      ln -s ../nothing t/sub/link; ln -s sub t/dirlink; head -c 61441 /dev/zero > t/sub/deep/zero
      echo z > t/locked/z; chmod 0400 t/locked/z
      touch -d '2001-02-03 04:05:06.123456789' t/sub/large t/empty t/sub/deep; chmod 0511 t/locked; touch -h -d 1999-01-01 t/dirlink
      touch -d '2010-01-01 00:00:00.5' t/sub t/locked t
      """#)
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(ending.isWhole, "\(ending)")
    try shell("cd \(path); chmod 0755 from/t/run from/t/sub; diff -r --no-dereference from/t to/t")
    #expect(try listing(path + "/from") == listing(path + "/to"))
    withExtendedLifetime(directory) {}
  }

  @Test func `thousands of files, more than may be under way, arrive`() async throws {
    let (directory, path) = try place("mkdir t; cd t; for i in $(seq 5000); do echo $i > $i; done")
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(ending.isWhole, "\(ending)")
    try shell("cd \(path); diff -r from to")
    withExtendedLifetime(directory) {}
  }

  @Test func `what is there already is not sent again`() async throws {
    let (directory, path) = try place("mkdir t; head -c 100000 /dev/urandom > t/a; echo b > t/b; cp -r t ../to/")
    let progress = TransferProgress()
    let ending = try await transfer([path + "/from/t"], into: path + "/to", progress: progress)
    #expect(ending.isWhole, "\(ending)")
    #expect(progress.moved == 0 && progress.done == 100_002)
    withExtendedLifetime(directory) {}
  }

  @Test func `a part is completed, and one of something else is not`() async throws {
    let (directory, path) = try place(
      """
      head -c 200000 /dev/urandom > a; head -c 200000 /dev/urandom > b; head -c 200000 /dev/urandom > c
      head -c 150000 a > ../to/.a.p2pfs-part; head -c 150000 /dev/zero > ../to/.b.p2pfs-part; cp c ../to/.c.p2pfs-part
      """)
    let progress = TransferProgress()
    let ending = try await transfer(
      ["a", "b", "c"].map { "\(path)/from/\($0)" }, into: path + "/to", progress: progress)
    #expect(ending.isWhole, "\(ending)")
    #expect(progress.moved == 50_000 + 200_000)
    try shell("cd \(path); diff -r from to; test -z \"$(find to -name '.*part')\"")
    withExtendedLifetime(directory) {}
  }

  @Test func `what differs is named on both sides and left alone, unless it may be replaced`() async throws {
    let (directory, path) = try place(
      """
      mkdir t; echo new > t/same-size; echo longer > t/size; echo x > t/dir; mkdir t/file; echo in > t/file/in
      echo y > t/link; echo ok > t/fine; echo canary > ../canary
      mkdir -p ../to/t/dir; echo old > ../to/t/same-size; echo o > ../to/t/size; echo f > ../to/t/file
      ln -s ../../canary ../to/t/link
      """)
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    #expect(!ending.isWhole)
    let named = ["t/dir", "t/file", "t/file/in", "t/link", "t/same-size", "t/size"]
    #expect(ending.problems.sender.paths == named && ending.problems.receiver.paths == named, "\(ending)")
    try shell(
      "cd \(path); cmp from/t/fine to/t/fine; test \"$(cat to/t/same-size to/t/size to/t/file canary)\" = 'old\no\nf\ncanary'"
    )
    let again = try await transfer([path + "/from/t"], into: path + "/to", overwrites: true)
    #expect(again.problems.receiver.paths == ["t/dir", "t/file", "t/file/in"], "\(again)")
    try shell(
      "cd \(path); for f in same-size size link fine; do cmp from/t/$f to/t/$f; done; test \"$(cat canary)\" = canary; test ! -L to/t/link"
    )
    withExtendedLifetime(directory) {}
  }

  @Test func `what cannot be sent is named, and the rest is sent`() async throws {
    let (directory, path) = try place(
      """
      mkdir t; mkfifo t/fifo; ln -s /etc/passwd t/absolute; ln -s ../../x t/outside; echo a > t/a; echo p > t/.a.p2pfs-part
      python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("t/socket")'
      """)
    let ending = try await transfer([path + "/from/t"], into: path + "/to")
    let named = ["t/.a.p2pfs-part", "t/absolute", "t/fifo", "t/outside", "t/socket"]
    #expect(ending.problems.sender.paths == named && ending.problems.receiver.paths == named, "\(ending)")
    #expect(try shell("ls -A \(path)/to/t") == "a\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `a file that changes while it is sent is named`() async throws {
    let (directory, path) = try place("head -c 20000000 /dev/zero > a; echo b > b")
    let ending = try await transfer(
      [path + "/from/a", path + "/from/b"], into: path + "/to",
      decide: { _, _ in
        _ = try? shell("echo more >> \(path)/from/a")
        return .accept
      })
    #expect(ending.problems.sender.paths == ["a"] && ending.problems.receiver.paths == ["a"], "\(ending)")
    #expect(try shell("ls \(path)/to") == "b\n")
    withExtendedLifetime(directory) {}
  }

  @Test func `an offer that is declined leaves nothing`() async throws {
    let (directory, path) = try place("echo a > a")
    let seen = Mutex<(TransferMessage.Offer, [UInt8])?>(nil)
    let ending = try await transfer([path + "/from/a"], into: path + "/to") { offer, claim in
      seen.withLock { $0 = (offer, claim) }
      return .decline("no, thanks")
    }
    guard case .failure(.declined("no, thanks")) = ending.sender else { throw TestFailure("\(ending)") }
    guard case .failure(.refused("no, thanks")) = ending.receiver else { throw TestFailure("\(ending)") }
    #expect(seen.withLock { $0?.0.names == [Array("a".utf8)] && $0?.0.bytes == 2 && $0?.1 == Array("a@b".utf8) })
    #expect(try shell("ls -A \(path)/to") == "")
    withExtendedLifetime(directory) {}
  }

  @Test func `an interruption keeps what has arrived, and the next time sends the rest`() async throws {
    let (directory, path) = try place("head -c 30000000 /dev/urandom > a; echo b > b")
    let paths = [path + "/from/a", path + "/from/b"]
    let ending = try await transfer(
      paths, into: path + "/to",
      meanwhile: { relation in
        let part = path + "/to/.a.p2pfs-part"
        _ = eventually {
          var status = stat()
          return stat(part, &status) == 0 && status.st_size > 1_000_000
        }
        relation.receiver.reset(.cancelled, "interrupted")
      })
    guard case .failure(.channel(.reset(.cancelled, "interrupted"))) = ending.sender,
      case .failure(.channel(.cancelled)) = ending.receiver
    else { throw TestFailure("\(ending)") }
    let progress = TransferProgress()
    let again = try await transfer(paths, into: path + "/to", progress: progress)
    #expect(again.isWhole && progress.moved < 29_000_002, "\(again) \(progress.moved)")
    try shell("cd \(path); diff -r from to")
    withExtendedLifetime(directory) {}
  }

  @Test func `a full disk is named on both sides`() async throws {
    let (directory, path) = try place("head -c 3000000 /dev/urandom > a; head -c 300000 /dev/zero > b")
    try shell("mount -t tmpfs -o size=1m tmpfs \(path)/to")
    defer { _ = try? shell("umount \(path)/to") }
    let ending = try await transfer([path + "/from/a"], into: path + "/to")
    guard case .failure(.refused(let why)) = ending.receiver, why.contains("bytes are offered"),
      case .failure(.declined("not enough space")) = ending.sender
    else { throw TestFailure("\(ending)") }
    // Of so many names nobody can say beforehand how much is there already: it is full in the middle.
    try shell("cd \(path)/from; for i in $(seq 17); do echo $i > z$i; done")
    let later = try await transfer(
      [path + "/from/b"] + (1...17).map { path + "/from/z\($0)" }, into: path + "/to",
      decide: { _, _ in
        _ = try? shell("head -c 900000 /dev/zero > \(path)/to/other")
        return .accept
      })
    guard case .failure(.local(let local)) = later.receiver, local.contains("b"),
      case .failure(.channel(.reset(.failed, let told))) = later.sender, told == local
    else { throw TestFailure("\(later)") }
    withExtendedLifetime(directory) {}
  }

  @Test func `paths that cannot be sent are refused at once`() throws {
    let (directory, path) = try place("mkdir -p x/same; echo 1 > same; mkfifo fifo; ln -s same link")
    for paths in [["nowhere"], ["same", "x/same"], ["fifo"], ["/"], [""]] {
      let paths = paths.map { $0.hasPrefix("/") || $0.isEmpty ? $0 : "\(path)/from/\($0)" }
      #expect(throws: TransferFailure.self, "\(paths)") { try TransferSource(paths) }
    }
    for (given, name) in [("x/", "x"), ("x/.", "x"), ("x/same/..", "x"), ("link", "link"), ("same", "same")] {
      #expect(try TransferSource(["\(path)/from/\(given)"]).count().offer.names == [Array(name.utf8)], "\(given)")
    }
    withExtendedLifetime(directory) {}
  }

  @Test func `who has said what it is and left is understood`() async throws {
    let (directory, path) = try place("echo a > a")
    let source = try TransferSource([path + "/from/a"])
    for sends in [true, false] {
      let relation = try Relation()
      let (ours, theirs) = sends ? (relation.sender, relation.receiver) : (relation.receiver, relation.sender)
      let piece = TransferMessage.hello(.init(sends: sends, claim: [])).piece
      #expect(try theirs.send(piece))
      theirs.reset(.failed, "both do the same")
      #expect(eventually { ours.failure != nil })
      await #expect(throws: TransferFailure.sameRole(sends: sends)) {
        if sends {
          _ = try await TransferSender(source, TransferCount(of: source), over: ours, claim: [], progress: .init()) {
            _ in
          }.run()
        } else {
          let target = try TransferTarget(path + "/to", overwrites: false)
          _ = try await TransferReceiver(
            into: target, over: ours, claim: [], progress: .init(), decide: { _, _ in .accept }, report: { _ in }
          ).run()
        }
      }
    }
    withExtendedLifetime(directory) {}
  }

  @Test func `two senders are told apart, and two receivers`() async throws {
    let (directory, path) = try place("echo a > a")
    let relation = try Relation()
    let source = try TransferSource([path + "/from/a"])
    let senders = [relation.sender, relation.receiver].map {
      TransferSender(source, TransferCount(of: source), over: $0, claim: [], progress: .init()) { _ in }
    }
    let first = Task { try await senders[0].run() }
    let second = Task { try await senders[1].run() }
    await #expect(throws: TransferFailure.sameRole(sends: true)) { try await first.value }
    await #expect(throws: TransferFailure.self) { try await second.value }
    let target = try TransferTarget(path + "/to", overwrites: false)
    let pair = try Relation()
    let receivers = [pair.sender, pair.receiver].map {
      TransferReceiver(
        into: target, over: $0, claim: [], progress: .init(), decide: { _, _ in .accept }, report: { _ in })
    }
    let third = Task { try await receivers[0].run() }
    let fourth = Task { try await receivers[1].run() }
    await #expect(throws: TransferFailure.self) { try await third.value }
    await #expect(throws: TransferFailure.self) { try await fourth.value }
    withExtendedLifetime(directory) {}
  }
}
