import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSTransfer

private let now = Timestamp(seconds: 1, nanoseconds: 0)

private func entry(_ kind: TransferEntry.Kind, _ path: String) throws -> TransferMessage {
  .entry(TransferEntry(kind, mode: 0o755, modified: now, path: try Path(Array(path.utf8))))
}

private func hash(_ text: String) -> ContentHash { Digest.hash(of: Array(text.utf8)) }

/// A sender that says what a test wants, against the real receiver.
@Suite(.onThreads) struct HostileSenderTests {
  /// Runs `script` against a receiver into a directory beside which a canary lies.
  /// - Returns: how the receiver ended.
  private func receive(
    _ prepare: String = ":", bytes: Int64 = 1000, files: UInt64 = 100, directories: UInt64 = 0, links: UInt64 = 0,
    overwrites: Bool = false, _ script: @escaping @Sendable (Script) throws -> Void
  ) async throws -> (outcome: Result<TransferResult, TransferFailure>, problems: Problems, path: TemporaryDirectory) {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    try shell("cd \(path); mkdir to; echo canary > canary; cd to; \(prepare)")
    let relation = try Relation()
    let problems = Problems()
    let receiver = TransferReceiver(
      into: try TransferTarget(path + "/to", overwrites: overwrites), over: relation.receiver, claim: [],
      progress: .init(), decide: { _, _ in .accept }, report: { problems.add($0) })
    let running = Task { () async -> Result<TransferResult, TransferFailure> in
      do throws(TransferFailure) { return .success(try await receiver.run()) } catch { return .failure(error) }
    }
    let watch = Task {
      try? await Task.sleep(for: .seconds(20))
      if !Task.isCancelled { relation.sender.reset(.failed, "the test took too long") }
    }
    await FileThread.run {
      let peer = Script(relation, asSender: true)
      do {
        var offer = TransferMessage.Offer()
        (offer.files, offer.directories, offer.links, offer.bytes) = (files, directories, links, bytes)
        offer.names = ["\u{1b}[31m\n", "a", "b", "c", "d", "f", "out", "there", "way"].map { Array($0.utf8) }
        offer.tops = UInt64(offer.names.count)
        try peer.begin(offer)
        try script(peer)
        _ = peer.hearAll()
      } catch {
        // The receiver has given up on it: what it says then is looked at below.
      }
      relation.sender.consumedEnd()
      relation.sender.finish()
    }
    let outcome = await running.value
    watch.cancel()
    #expect(try shell("cd \(path); cat canary; ls") == "canary\ncanary\nto\n")
    if case .failure(.channel(.reset(_, let why))) = outcome { #expect(!why.contains("too long")) }
    return (outcome, problems, directory)
  }

  private func expectViolation(_ outcome: Result<TransferResult, TransferFailure>) {
    guard case .failure(.violated) = outcome else {
      Issue.record("\(outcome)")
      return
    }
  }

  @Test func `data for files that were never asked for ends it`() async throws {
    let wrongs: [@Sendable (Script) throws -> Void] = [
      { try $0.say(.begin(number: 1, offset: 0)) },
      { try $0.say(.data(slice([1]))) },
      { try $0.say(.end(number: 1, hash: hash(""))) },
      { try $0.say(.accept) },
      { try $0.say(raw: [99]) },
      { try $0.say(raw: []) },
      {
        try $0.say(try entry(.file(size: 2), "a"))
        _ = try $0.hear()
        try $0.say(.begin(number: 1, offset: Limits.Wire.fileSize))
      },
      {
        try $0.say(try entry(.file(size: 2), "a"))
        _ = try $0.hear()
        try $0.say(.begin(number: 1, offset: 0), .data(slice([1, 2, 3])))
      },
    ]
    for wrong in wrongs {
      let (outcome, _, directory) = try await receive { try wrong($0) }
      expectViolation(outcome)
      #expect(try shell("cd \(directory.path.string)/to; find . -type f ! -name '.*p2pfs-part'") == "")
    }
  }

  @Test func `entries without end, or larger than offered, end it`() async throws {
    let (endless, _, _) = try await receive(files: 5000) { peer in
      for number in 0..<6000 { try peer.say(try entry(.file(size: 0), "f/\(number)")) }
    }
    expectViolation(endless)
    let (large, _, _) = try await receive { try $0.say(try entry(.file(size: Limits.Wire.fileSize), "f")) }
    expectViolation(large)
    let (many, _, _) = try await receive(bytes: Limits.Wire.fileSize) { peer in
      for _ in 0..<3 { try peer.say(try entry(.file(size: Limits.Wire.fileSize), "f")) }
    }
    guard case .failure = many else { throw TestFailure("\(many)") }
  }

  @Test func `a path through a link of its own, or of ours, leads nowhere`() async throws {
    let (outcome, problems, directory) = try await receive(
      "ln -s .. out; ln -s ../canary way", files: 3, directories: 2, links: 1
    ) { peer in
      try peer.say(try entry(.directory, "d"), try entry(.link(target: Array(".".utf8)), "d/here"))
      try peer.say(try entry(.file(size: 2), "d/here/x"))
      try peer.say(try entry(.file(size: 2), "out/x"), try entry(.directory, "out"), try entry(.file(size: 2), "way"))
      for _ in 0..<4 { guard case .problem = try peer.hear() else { throw TestFailure("taken") } }
      try peer.say(.complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.problems == 4 && problems.paths == ["d/here/x", "out", "out/x", "way"])
    #expect(try shell("cd \(directory.path.string)/to; find . -type f") == "")
  }

  @Test func `links to the outside end it`() async throws {
    for target in ["/etc", "../..", "../../canary", "x/../../.."] {
      let bytes = Array(target.utf8)
      let (outcome, _, _) = try await receive(directories: 1, links: 1) { peer in
        try peer.say(try entry(.directory, "d"), try entry(.link(target: bytes), "d/l"))
      }
      expectViolation(outcome)
    }
  }

  @Test func `a file where a directory was, and the other way round, is a problem`() async throws {
    let (outcome, problems, _) = try await receive(files: 3, directories: 2) { peer in
      try peer.say(try entry(.directory, "d"), try entry(.file(size: 1), "d"), try entry(.file(size: 1), "f"))
      guard case .problem = try peer.hear(), case .want(3, 0, nil) = try peer.hear() else { throw TestFailure("taken") }
      try peer.say(.begin(number: 3, offset: 0), .data(slice([120])), .end(number: 3, hash: hash("x")))
      try peer.say(try entry(.directory, "f"), try entry(.file(size: 1), "f/x"))
      for _ in 0..<2 { guard case .problem = try peer.hear() else { throw TestFailure("taken") } }
      try peer.say(.complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.files == 1 && problems.paths == ["d", "f", "f/x"])
  }

  @Test func `one name twice is taken once`() async throws {
    let (outcome, problems, directory) = try await receive(files: 2) { peer in
      try peer.say(try entry(.file(size: 1), "f"), try entry(.file(size: 1), "f"))
      for number in 1...2 {
        guard case .want = try peer.hear() else { throw TestFailure("not wanted") }
        _ = number
      }
      try peer.say(.begin(number: 1, offset: 0), .data(slice([120])), .end(number: 1, hash: hash("x")))
      try peer.say(.begin(number: 2, offset: 0), .data(slice([121])), .end(number: 2, hash: hash("y")), .complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.files == 1 && problems.paths == ["f"])
    #expect(try shell("cat \(directory.path.string)/to/f") == "x")
  }

  @Test func `a wrong hash is found`() async throws {
    let (outcome, problems, directory) = try await receive("echo 1 > there", files: 2) { peer in
      try peer.say(try entry(.file(size: 1), "f"), try entry(.file(size: 2), "there"))
      guard case .want = try peer.hear(), case .check(2) = try peer.hear() else { throw TestFailure("not asked") }
      try peer.say(.begin(number: 1, offset: 0), .data(slice([120])), .end(number: 1, hash: hash("y")))
      try peer.say(.end(number: 2, hash: hash("y")), .complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.files == 0 && problems.paths == ["f", "there"])
    #expect(try shell("cd \(directory.path.string)/to; ls -A; cat there") == "there\n1\n")
  }

  @Test func `a part that is somebody else's link or directory is not written to`() async throws {
    let (outcome, _, _) = try await receive(
      "ln -s ../canary .a.p2pfs-part; mkdir .b.p2pfs-part; ln ../canary .c.p2pfs-part", files: 3
    ) { peer in
      for name in ["a", "b", "c"] { try peer.say(try entry(.file(size: 1), name)) }
      for number in 1...3 as ClosedRange<UInt64> {
        guard case .want(number, 0, nil) = try peer.hear() else { throw TestFailure("not wanted") }
      }
      for number in 1...3 as ClosedRange<UInt64> {
        try peer.say(.begin(number: number, offset: 0), .data(slice([120])), .end(number: number, hash: hash("x")))
      }
      try peer.say(.complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.files == 2 && result.problems == 1)
  }

  @Test func `setuid does not arrive, and names with control characters do`() async throws {
    let (outcome, _, directory) = try await receive(files: 1) { peer in
      try peer.say(try entry(.file(size: 0), "\u{1b}[31m\n"))
      guard case .want = try peer.hear() else { throw TestFailure("not wanted") }
      try peer.say(.begin(number: 1, offset: 0), .end(number: 1, hash: hash("")), .complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.files == 1)
    #expect(try shell("find \(directory.path.string)/to -type f -perm /7000") == "")
  }

  @Test func `a name that was not shown before the user agreed ends it`() async throws {
    let (outcome, _, directory) = try await receive { try $0.say(try entry(.file(size: 0), ".bashrc")) }
    expectViolation(outcome)
    #expect(try shell("ls -A \(directory.path.string)/to") == "")
  }

  @Test func `what is left out is told, with a reason or without, or not named at all`() async throws {
    let (outcome, problems, _) = try await receive(files: 5) { peer in
      try peer.say(try entry(.file(size: 1), "a"), try entry(.file(size: 1), "b"))
      for _ in 0..<2 { guard case .want = try peer.hear() else { throw TestFailure("not wanted") } }
      try peer.say(.problem(.init(number: 1, path: Array("a".utf8), reason: "")))
      try peer.say(.begin(number: 2, offset: 0), .problem(.init(number: 2, path: Array("b".utf8), reason: "")))
      try peer.say(.complete)
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.files == 0 && result.problems == 3 && problems.paths == ["", "a", "b"])
    #expect(problems.reasons.contains("3 of what was offered did not come"))
  }

  @Test func `a file that is left out before it was asked for is not asked for any more`() async throws {
    let (outcome, problems, _) = try await receive("head -c 30000000 /dev/zero > a", bytes: 100_000_000, files: 2) {
      // While the first is hashed, the second waits to be looked at.
      try $0.say(try entry(.file(size: 30_000_000), "a"), try entry(.file(size: 1), "b"))
      try $0.say(.problem(.init(number: 2, path: Array("b".utf8), reason: "gone")))
      guard case .check(1) = try $0.hear() else { throw TestFailure("not asked") }
      try $0.say(.problem(.init(number: 1, path: Array("a".utf8), reason: "gone")), .complete)
      guard case .result = try $0.hear() else { throw TestFailure("something else before the result") }
    }
    guard case .success(let result) = outcome else { throw TestFailure("\(outcome)") }
    #expect(result.problems == 2 && problems.paths == ["a", "b"])
  }

  @Test func `the receiver ends when the sender does, however much of it waits to be looked at`() async throws {
    let (outcome, _, _) = try await receive(
      "head -c 300000000 /dev/zero > a", bytes: 400_000_000, files: 100_000
    ) { peer in
      try peer.say(try entry(.file(size: 300_000_000), "a"), try entry(.directory, "d"))
    }
    expectViolation(outcome)
    let (full, _, _) = try await receive(
      "head -c 300000000 /dev/zero > a", bytes: 400_000_000, directories: 100_000
    ) { peer in
      try peer.say(try entry(.file(size: 300_000_000), "a"))
      for number in 0..<(Limits.Transfer.ahead + 100) { try peer.say(try entry(.directory, "d/\(number)")) }
      peer.relation.sender.reset(.failed, "enough")
    }
    guard case .failure(.channel) = full else { throw TestFailure("\(full)") }
  }

  @Test(arguments: [true, false])
  func `who says nothing is not waited for`(sends: Bool) async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    try shell("cd \(path); mkdir to; echo a > a")
    let relation = try Relation()
    if sends {
      let source = try TransferSource([path + "/a"])
      let sender = TransferSender(
        source, TransferCount(of: source), over: relation.sender, claim: [], progress: .init(), patience: 0.3
      ) { _ in }
      await #expect(throws: TransferFailure.silent) { try await sender.run() }
    } else {
      let receiver = TransferReceiver(
        into: try TransferTarget(path + "/to", overwrites: false), over: relation.receiver, claim: [],
        progress: .init(), patience: 0.3, decide: { _, _ in .accept }, report: { _ in })
      await #expect(throws: TransferFailure.silent) { try await receiver.run() }
    }
    withExtendedLifetime((directory, relation)) {}
  }
}

/// A receiver that says what a test wants, against the real sender.
@Suite(.onThreads) struct HostileReceiverTests {
  private func send(_ script: @escaping @Sendable (Script) throws -> Void) async throws -> Result<
    TransferSender.Summary, TransferFailure
  > {
    let directory = try TemporaryDirectory()
    let path = directory.path.string
    try shell("cd \(path); mkdir t; echo secret > secret; echo a > t/a; echo b > t/b")
    let relation = try Relation()
    let source = try TransferSource([path + "/t"])
    let sender = TransferSender(source, TransferCount(of: source), over: relation.sender, claim: [], progress: .init())
    { _ in
    }
    let running = Task { () async -> Result<TransferSender.Summary, TransferFailure> in
      do throws(TransferFailure) { return .success(try await sender.run()) } catch { return .failure(error) }
    }
    let watch = Task {
      try? await Task.sleep(for: .seconds(20))
      if !Task.isCancelled { relation.receiver.reset(.failed, "the test took too long") }
    }
    let heard = await FileThread.run { () -> [TransferMessage] in
      let peer = Script(relation, asSender: false)
      do {
        try peer.say(.hello(.init(sends: false, claim: [])), .accept)
        for _ in 0..<5 { _ = try peer.hear() }
        try script(peer)
      } catch {
        // Seen by how the sender ended.
      }
      return peer.hearAll()
    }
    watch.cancel()
    for case .data(let slice) in heard { #expect(!slice.bytes.elementsEqual(Array("secret\n".utf8))) }
    defer { withExtendedLifetime(directory) {} }
    return await running.value
  }

  @Test func `what was not offered, too much of it, or the same twice is refused`() async throws {
    let wrongs: [@Sendable (Script) throws -> Void] = [
      { try $0.say(.want(number: 1, have: 0, hash: nil)) },
      { try $0.say(.want(number: 4, have: 0, hash: nil)) },
      { try $0.say(.check(number: 1_000_000)) },
      { try $0.say(.want(number: 2, have: 3, hash: hash("x"))) },
      { try $0.say(.want(number: 2, have: Limits.Wire.fileSize, hash: hash("x"))) },
      { try $0.say(.want(number: 2, have: 0, hash: nil), .want(number: 2, have: 0, hash: nil)) },
      { try $0.say(.check(number: 2), .want(number: 2, have: 0, hash: nil)) },
      { try $0.say(.accept) }, { try $0.say(.result(.init())) }, { try $0.say(.complete) },
      { try $0.say(.problem(.init(number: 9, path: [], reason: "x"))) },
      { try $0.say(raw: [0]) },
    ]
    for (index, wrong) in wrongs.enumerated() {
      let outcome = try await send { try wrong($0) }
      guard case .failure(.violated) = outcome else {
        Issue.record("\(index): \(outcome)")
        continue
      }
    }
  }

  @Test func `a receiver that ends in the middle is no success`() async throws {
    let outcome = try await send { $0.relation.receiver.finish() }
    guard case .failure(.violated) = outcome else { throw TestFailure("\(outcome)") }
  }
}
