import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// The file, and an exporter that is started again.
@Suite(.onThreads) struct JournalTests {
  private let identity = [UInt8](repeating: 7, count: 16)

  private func header(_ operation: P2PFSWire.Operation, _ sequence: UInt64) -> Header {
    Header(kind: .request, operation: operation.rawValue, sequence: sequence)
  }

  @Test func `the next process knows what the last one knew`() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("journal").string
    let machine: UInt64
    do {
      let journal = try Journal(path, identity: identity)
      #expect(!journal.remembers)
      machine = journal.machine
      journal.greeted(by: 5)
      journal.intend(JournalRecord(operation: P2PFSWire.Operation.mkdir.rawValue, sequence: 1 << 16 | 3))
      let request = header(.unlink, 2 << 16 | 4)
      journal.keep(Frame.reply(to: request, error: .noSuchFileOrDirectory), to: request)
    }
    let journal = try Journal(path, identity: identity)
    #expect(journal.remembers && journal.machine == machine)
    #expect(journal.recall(1 << 16 | 3)?.state == .intended)
    #expect(journal.recall(2 << 16 | 4)?.error == .noSuchFileOrDirectory)
    // Another request in the same slot, and one in no slot.
    #expect(journal.recall(3 << 16 | 4) == nil && journal.recall(1 << 16 | 0xffff) == nil)
    journal.greeted(by: 5)
    #expect(journal.recall(1 << 16 | 3) != nil)
    journal.greeted(by: 6)
    #expect(journal.recall(1 << 16 | 3) == nil)
    journal.remove()
    #expect(access(path, F_OK) != 0)
  }

  @Test func `a journal of another boot, of another session, or cut short, says nothing`() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("journal").string
    func made() throws -> Journal {
      let journal = try Journal(path, identity: identity, bootID: [1])
      journal.greeted(by: 5)
      return journal
    }
    let machine = try made().machine
    let rebooted = try Journal(path, identity: identity, bootID: [2])
    #expect(!rebooted.remembers && rebooted.machine != machine)
    _ = try made()
    #expect(try !Journal(path, identity: [UInt8](repeating: 8, count: 16), bootID: [1]).remembers)
    _ = try made()
    truncate(path, 100)
    #expect(try !Journal(path, identity: identity, bootID: [1]).remembers)
    _ = try made()
    // Others could have written to it.
    chmod(path, 0o666)
    #expect(try !Journal(path, identity: identity, bootID: [1]).remembers)
    unlink(path)
    symlink("/etc/passwd", path)
    #expect(try !Journal(path, identity: identity, bootID: [1]).remembers)
    #expect(throws: Errno.self) { try Journal("/nowhere/journal", identity: identity) }
  }

  @Test(arguments: [false, true]) func `a permission that a process has lent itself is taken back by the next`(
    _ isOtherBoot: Bool
  ) throws {
    let (exported, kept) = (try TemporaryDirectory(), try TemporaryDirectory())
    let journalPath = kept.path.appending("journal").string
    let share = try Share(exported.path)
    let boot: [UInt8] = isOtherBoot ? [1] : Journal.bootID()
    func mode(_ name: String) throws -> UInt32 { try share.directory.attributes(at: path(name)).mode & 0o7777 }
    do {
      let journal = try Journal(journalPath, identity: identity, bootID: boot)
      for name in ["lent", "changed", "replaced", "settled"] {
        try place("x", at: exported.path.appending(name))
        chmod(exported.path.appending(name).string, 0o444)
        let file = try share.directory.attributes(at: path(name)).identity
        let note = journal.note(
          Loan(path: try path(name), inode: file.inode, generation: file.generation, mode: 0o444, lent: 0o644))
        #expect(note != nil)
        if name == "settled", let note { journal.settle(note) }
        chmod(exported.path.appending(name).string, 0o644)
      }
      let another = Loan(path: try path("x"), inode: 1, generation: 1, mode: 0, lent: 0o200)
      #expect(journal.note(another) != nil)
      var long = another
      long.path = try path(String(repeating: "a/", count: 1_000) + "a")
      #expect(journal.note(long) == nil)
    }
    // It dies here. Others go on.
    chmod(exported.path.appending("changed").string, 0o600)
    rename(exported.path.appending("replaced").string, exported.path.appending("moved").string)
    try place("y", at: exported.path.appending("replaced"))
    chmod(exported.path.appending("replaced").string, 0o644)
    let journal = try Journal(journalPath, identity: identity)
    #expect(journal.left.count == 4)
    let session = ExportSession(share, journal: journal)
    #expect(try mode("lent") == 0o444)
    #expect(try mode("changed") == 0o600 && mode("replaced") == 0o644 && mode("settled") == 0o644)
    session.suspend()
    #expect(try Journal(journalPath, identity: identity).left.isEmpty)
  }

  @Test func `a file that forbids it is opened again, and keeps its mode`() throws {
    let (exported, kept) = (try TemporaryDirectory(), try TemporaryDirectory())
    try place("x", at: exported.path.appending("f"))
    chmod(exported.path.appending("f").string, 0o444)
    let share = try Share(exported.path)
    let journal = try Journal(kept.path.appending("journal").string, identity: identity)
    let opened = try share.directory.openAgain(path("f"), [.read, .write], journal)
    #expect(Glibc.write(opened.rawValue, "y", 1) == 1)
    #expect(try share.directory.attributes(at: path("f")).mode == 0o100444)
    #expect(Journal.readLoans(journal.base).isEmpty)
  }

  /// When the first exporter dies.
  enum Death: CaseIterable {
    case beforeTheCall, afterTheCall, afterItIsDone
  }

  /// Has one exporter die at a request, and the next one answer it.
  private func survive(
    _ death: Death, prepare: (Peer, TemporaryDirectory) throws -> Void = { _, _ in },
    _ request: (Peer) throws -> Request, meanwhile: () throws -> Void = {}
  ) throws -> (answer: Peer.Answer, exported: TemporaryDirectory, peer: Peer, share: Share) {
    let (exported, place) = (try TemporaryDirectory(), try TemporaryDirectory())
    let path = place.path.appending("journal").string
    let share = try Share(exported.path)
    let first = Peer(share, journal: path, identity)
    try prepare(first, exported)
    let request = try request(first)
    first.keeps = death == .afterItIsDone
    let sequence = first.next
    if death == .beforeTheCall {
      let journal = try Journal(path, identity: identity)
      let session = ExportSession(share, journal: journal)
      session.note(request, sequence)
    } else {
      first.begin(request)
      #expect(first.wait(sequence) != nil)
    }
    first.die()
    try meanwhile()
    let second = Peer(share, journal: path, identity)
    second.start(after: (sequence >> 16 - 1) << 16)
    guard let answer = second.wait(second.begin(request)) else { throw Errno.timedOut }
    return (answer, exported, second, share)
  }

  @Test(arguments: Death.allCases) func `a directory is made once`(_ death: Death) throws {
    let outcome = try survive(death) { _ in .mkdir(try path("d"), mode: 0o755) }
    #expect(try outcome.answer.attributes().type == .directory)
    withExtendedLifetime(outcome) {}
  }

  @Test(arguments: Death.allCases) func `a link is made once`(_ death: Death) throws {
    let outcome = try survive(death) { _, exported in
      try place("x", at: exported.path.appending("a"))
    } _: { _ in
      .link(existing: .path(try path("a")), try path("b"))
    }
    #expect(try outcome.answer.attributes().links == 2)
  }

  @Test(arguments: Death.allCases) func `a symbolic link is made once`(_ death: Death) throws {
    let outcome = try survive(death) { _ in .symlink(try path("l"), target: Array("t".utf8)) }
    #expect(try outcome.answer.attributes().type == .symbolicLink)
  }

  @Test(arguments: Death.allCases) func `a file is created once, and is open`(_ death: Death) throws {
    let handle = Handle(rawValue: 99)
    let outcome = try survive(death) { _ in
      .create(handle, try path("f"), [.write, .exclusive], mode: 0o444)
    }
    #expect(try outcome.answer.attributes().mode == 0o100444)
    try outcome.peer.write(handle, "text")
    #expect(contents(outcome.exported.path.appending("f")) == Array("text".utf8))
    #expect(try outcome.peer.ask(.lookup(.handle(handle))).attributes().mode == 0o100444)
  }

  @Test(arguments: Death.allCases) func `a name is removed once`(_ death: Death) throws {
    let outcome = try survive(death) { _, exported in
      try place("x", at: exported.path.appending("f"))
    } _: { _ in
      .unlink(try path("f"))
    }
    #expect(outcome.answer.error == nil)
    #expect(try outcome.peer.error(.lookup(.path(path("f")))) == .noSuchFileOrDirectory)
  }

  @Test(arguments: [Death.beforeTheCall, .afterTheCall]) func `what was under way is not done in another directory`(
    _ death: Death
  ) throws {
    var files: TemporaryDirectory?
    let outcome = try survive(death) { _, exported in
      mkdir(exported.path.appending("d").string, 0o755)
      try place("old", at: exported.path.appending("d/f"))
      files = exported
    } _: { peer in
      let meant = try peer.done(.lookup(.path(path("d")))).attributes().identity
      return .unlink(Place(try path("d/f"), in: meant))
    } meanwhile: {
      guard let directory = files?.path else { return }
      rename(directory.appending("d").string, directory.appending("old").string)
      mkdir(directory.appending("d").string, 0o755)
      try place("precious", at: directory.appending("d/f"))
    }
    #expect(outcome.answer.error == .staleNFSFileHandle)
    #expect(contents(outcome.exported.path.appending("d/f")) == Array("precious".utf8))
  }

  @Test(arguments: Death.allCases) func `what was not there is not removed twice`(_ death: Death) throws {
    let outcome = try survive(death) { _ in .rmdir(try path("f")) }
    #expect(outcome.answer.error == .noSuchFileOrDirectory)
  }

  @Test(arguments: Death.allCases, [RenameMode.replace, .exchange]) func `a file is renamed once`(
    _ death: Death, _ mode: RenameMode
  ) throws {
    let outcome = try survive(death) { _, exported in
      try place("a", at: exported.path.appending("a"))
      try place("b", at: exported.path.appending("b"))
    } _: { _ in
      .rename(try path("a"), to: try path("b"), mode)
    }
    #expect(outcome.answer.error == nil)
    #expect(contents(outcome.exported.path.appending("b")) == [UInt8(ascii: "a")])
    #expect(contents(outcome.exported.path.appending("a")) == (mode == .exchange ? [UInt8(ascii: "b")] : nil))
  }

  @Test(arguments: Death.allCases) func `a file is truncated once when it is opened`(_ death: Death) throws {
    let handle = Handle(rawValue: 99)
    let outcome = try survive(death) { _, exported in
      try place("x", at: exported.path.appending("f"))
    } _: { _ in
      .open(handle, .path(try path("f")), [.write, .truncate], prefetch: 0)
    }
    #expect(try outcome.answer.attributes().size == 0)
    #expect(try outcome.peer.error(.write(handle, offset: 0, slice([1]))) == nil)
  }

  @Test(arguments: Death.allCases) func `a close succeeds, though the file was closed with the process`(_ death: Death)
    throws
  {
    var handle = Handle(rawValue: 0)
    let outcome = try survive(death) { peer, _ in
      handle = try peer.create(path("f"))
    } _: { _ in
      .close(handle)
    }
    #expect(outcome.answer.error == nil)
  }

  @Test(arguments: Death.allCases) func `attributes are changed, though the mode forbids it by now`(_ death: Death)
    throws
  {
    let outcome = try survive(death) { _, exported in
      try place("abc", at: exported.path.appending("f"))
    } _: { _ in
      .setattr(.path(try path("f")), AttributeChanges(mode: 0o444, size: 1))
    }
    let attributes = try outcome.answer.attributes()
    #expect(attributes.mode == 0o100444 && attributes.size == 1)
  }

  @Test(arguments: [0, 1, 5], Death.allCases) func `an append is made once, and a part of it continued`(
    _ written: Int, _ death: Death
  ) throws {
    // Killed after so many bytes of it, or after all, or when it was noted, too.
    guard written == 0 || death == .beforeTheCall else { return }
    let handle = Handle(rawValue: 99)
    let (exported, place) = (try TemporaryDirectory(), try TemporaryDirectory())
    let journal = place.path.appending("journal").string
    let share = try Share(exported.path)
    let first = Peer(share, journal: journal, identity)
    try first.done(.create(handle, try path("f"), [.write, .append], mode: 0o644))
    try first.write(handle, "start ")
    let file = try first.ask(.lookup(.handle(handle))).attributes().identity
    let parts =
      [Request.append(handle, more: true, slice(Array("hel".utf8)))] + [
        Request.append(handle, more: false, slice(Array("lo".utf8)))
      ]
    first.keeps = death == .afterItIsDone
    let sequence = first.next
    if death == .beforeTheCall {
      var record = JournalRecord(
        operation: P2PFSWire.Operation.append.rawValue, sequence: Peer.number(sequence >> 16 + 1))
      (record.size, record.count) = (6, 5)
      try Journal(journal, identity: identity).intend(record)
      let local = open(exported.path.appending("f").string, O_WRONLY | O_APPEND)
      #expect(Glibc.write(local, "hello", written) == written)
      close(local)
    } else {
      let answers = parts.map { first.begin($0) }.map { first.wait($0) }
      #expect(answers.allSatisfy { $0 != nil })
    }
    first.die()
    let second = Peer(share, journal: journal, identity)
    try second.done(.reopen(handle, try path("f"), [.write, .append], file))
    second.start(after: (sequence >> 16 - 1) << 16)
    for answer in parts.map({ second.begin($0) }).map({ second.wait($0) }) {
      #expect(try answer?.replies.first?.reply.appended() == Appended(offset: 6, count: 5))
    }
    #expect(contents(exported.path.appending("f")) == Array("start hello".utf8))
  }

  @Test func `open files are opened again, and others are not`() throws {
    let exported = try TemporaryDirectory()
    let share = try Share(exported.path)
    for name in ["same", "other", "gone", "protected"] { try place("x", at: exported.path.appending(name)) }
    let first = Peer(share)
    func identity(_ name: String) throws -> FileIdentity {
      try first.ask(.lookup(.path(path(name)))).attributes().identity
    }
    let identities = try ["same", "other", "gone", "protected"].map(identity)
    // The old one stays, so that its number is not given to the new one.
    rename(exported.path.appending("other").string, exported.path.appending("moved").string)
    try place("y", at: exported.path.appending("other"))
    unlink(exported.path.appending("gone").string)
    chmod(exported.path.appending("protected").string, 0o400)
    let second = Peer(share)
    func reopen(_ number: Int, _ name: String, _ identity: FileIdentity) throws -> Errno? {
      try second.error(
        .reopen(
          Handle(rawValue: UInt64(number)), name.isEmpty ? .root : path(name), [.read, .write, .truncate], identity))
    }
    #expect(try reopen(1, "same", identities[0]) == nil)
    // Asked for again.
    #expect(try reopen(1, "same", identities[0]) == nil)
    #expect(try second.read(Handle(rawValue: 1)) == [UInt8(ascii: "x")])
    #expect(try reopen(2, "other", identities[1]) == .staleNFSFileHandle)
    #expect(try reopen(3, "gone", identities[2]) == .staleNFSFileHandle)
    #expect(try reopen(4, "", identities[2]) == .ioError)
    #expect(try reopen(5, "protected", identities[3]) == nil)
    for (number, error) in [(2, Errno.staleNFSFileHandle), (3, .staleNFSFileHandle), (4, .ioError)] {
      let handle = Handle(rawValue: UInt64(number))
      #expect(try second.ask(.read(handle, offset: 0, count: 1)).error == error)
      #expect(try second.error(.write(handle, offset: 0, slice([1]))) == error)
      #expect(try second.error(.fsync(handle, dataOnly: false)) == error)
      #expect(try second.error(.close(handle)) == nil)
      #expect(try second.error(.close(handle)) == .badFileDescriptor)
    }
  }
}
