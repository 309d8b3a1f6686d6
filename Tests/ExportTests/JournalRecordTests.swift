import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// Deciding by the records, without a file.
@Suite struct JournalRecordTests {
  private let one = FileIdentity(device: 1, inode: 1, generation: 1)
  private let other = FileIdentity(device: 1, inode: 1, generation: 2)
  private let p = try! path("a")
  private let q = try! path("b")

  private func record(
    _ request: Request, _ source: FileIdentity? = nil, _ target: FileIdentity? = nil
  ) -> JournalRecord {
    var record = JournalRecord(operation: request.operation.rawValue, sequence: 1 << 16)
    (record.source, record.target) = (source, target)
    return record
  }

  @Test func `a record comes back as it was written`() {
    var record = record(.unlink(p), one, nil)
    (record.size, record.count, record.offset, record.status) = (.max, .max, -1, 17)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: JournalRecord.length, alignment: 64)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0xff)
    record.writeFields(to: memory)
    #expect(JournalRecord(.intended, from: UnsafeRawBufferPointer(memory)) == record)
  }

  @Test func `what was done is done, with the error it ended with`() {
    for request in [
      Request.mkdir(p, mode: 0), .rename(p, to: q, .replace), .fsync(Handle(rawValue: 1), dataOnly: false),
    ] {
      var record = record(request, one, other)
      record.state = .done
      #expect(record.verdict(for: request, now: .init()) == .done(nil))
      record.status = UInt32(Errno.noSpace.rawValue)
      #expect(record.verdict(for: request, now: .init()) == .done(.noSpace))
    }
  }

  @Test func `what makes a name is done if there was none before`() {
    let requests: [Request] = [
      .mkdir(p, mode: 0), .mknod(p, mode: 0o100644), .symlink(p, target: [1]), .link(existing: .path(q), p),
      .create(Handle(rawValue: 1), p, [.write, .exclusive], mode: 0),
    ]
    for request in requests {
      #expect(record(request).verdict(for: request, now: .init()) == .undone)
      #expect(record(request).verdict(for: request, now: .init(source: one)) == .done(nil))
      // It was there before: doing it again tells what it told.
      #expect(record(request, one).verdict(for: request, now: .init(source: one)) == .undone)
    }
  }

  @Test func `what removes a name is done if the file has lost it`() {
    for request in [Request.unlink(p), .rmdir(p)] {
      #expect(record(request, one).verdict(for: request, now: .init(source: one)) == .undone)
      #expect(record(request, one).verdict(for: request, now: .init()) == .done(nil))
      // The same number, but another file: it was made since.
      #expect(record(request, one).verdict(for: request, now: .init(source: other)) == .done(nil))
      #expect(record(request).verdict(for: request, now: .init()) == .undone)
    }
  }

  @Test(arguments: [RenameMode.replace, .noReplace, .exchange]) func `a rename is done if the file has moved`(
    _ mode: RenameMode
  ) {
    let request = Request.rename(p, to: q, mode)
    let isExchange = mode == .exchange
    let before = record(request, one, other)
    #expect(before.verdict(for: request, now: .init(source: one, target: other)) == .undone)
    #expect(before.verdict(for: request, now: .init(source: isExchange ? other : nil, target: one)) == .done(nil))
    // Two names of one file stay as they are.
    #expect(record(request, one, one).verdict(for: request, now: .init(source: one, target: one)) == .undone)
    #expect(record(request, nil, other).verdict(for: request, now: .init(target: other)) == .undone)
  }

  @Test func `an append is found by its bytes`() {
    func verdict(_ data: String, _ grown: String, isAll: Bool = true) -> AppendVerdict {
      Array(data.utf8).withUnsafeBytes { data in
        Array(grown.utf8).withUnsafeBytes { AppendVerdict(of: data, size: 100, grown: $0, isAll: isAll) }
      }
    }
    #expect(verdict("hello", "") == .undone)
    #expect(verdict("hello", "hello") == .done(offset: 100))
    #expect(verdict("hello", "hel") == .part(offset: 100, count: 3))
    #expect(verdict("hello", "hel", isAll: false) == .undone)
    // Somebody else was first, or came after.
    #expect(verdict("hello", "other\nhello") == .done(offset: 106))
    #expect(verdict("hello", "hello other") == .done(offset: 100))
    #expect(verdict("hello", "other") == .undone)
    #expect(verdict("hello", "helhello") == .done(offset: 103))
    #expect(verdict("", "") == .undone)
  }
}
