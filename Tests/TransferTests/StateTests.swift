import Core
import SystemPackage
import Testing
import Wire

@testable import Transfer

private let hash = ContentHash([UInt8](repeating: 1, count: 32))

private func file(_ name: String, size: Int64 = 10) throws -> TransferEntry {
  TransferEntry(
    .file(size: size), mode: 0o644, modified: Timestamp(seconds: 0, nanoseconds: 0), path: try Path(Array(name.utf8)))
}

private func offer(files: UInt64, bytes: Int64) -> TransferMessage.Offer {
  var offer = TransferMessage.Offer()
  (offer.files, offer.bytes, offer.tops) = (files, bytes, files)
  return offer
}

@Suite struct SendingStateTests {
  private func sending(files: UInt64 = 3, bytes: Int64 = 100) throws -> SendingState {
    var state = SendingState(offer(files: files, bytes: bytes))
    _ = try state.heard(.hello(.init(sends: false, claim: [])))
    _ = try state.heard(.accept)
    return state
  }

  @Test func `a file is wanted once, and only what is there of it`() throws {
    var state = try sending()
    #expect(state.offer(try file("a")) == 1)
    #expect(throws: MalformedMessage.self) { try state.heard(.want(number: 2, have: 0, hash: nil)) }
    #expect(throws: MalformedMessage.self) {
      var state = state
      _ = try state.heard(.want(number: 1, have: 11, hash: hash))
    }
    _ = try state.heard(.want(number: 1, have: 10, hash: hash))
    #expect(throws: MalformedMessage.self) { try state.heard(.want(number: 1, have: 0, hash: nil)) }
    #expect(throws: MalformedMessage.self) { try state.heard(.check(number: 1)) }
    state.settle(1)
    #expect(throws: MalformedMessage.self) { try state.heard(.want(number: 1, have: 0, hash: nil)) }
    #expect(state.unsettledCount == 0)
  }

  @Test func `nothing beyond the offer is sent`() throws {
    var state = try sending(files: 2, bytes: 15)
    #expect(state.offer(try file("a")) == 1)
    #expect(state.offer(try file("b")) == nil)
    #expect(state.offer(try file("c", size: 5)) == 2)
    #expect(state.offer(try file("d", size: 0)) == nil)
  }

  @Test func `a problem settles a file that has no answer, and marks one that is being sent`() throws {
    var state = try sending()
    _ = state.offer(try file("a"))
    _ = state.offer(try file("b"))
    _ = try state.heard(.want(number: 2, have: 0, hash: nil))
    _ = try state.heard(.problem(.init(number: 1, path: [], reason: "x")))
    #expect(state.unsettledCount == 1 && !state.isRefused(2))
    _ = try state.heard(.problem(.init(number: 2, path: [], reason: "x")))
    #expect(state.unsettledCount == 1 && state.isRefused(2))
    #expect(throws: MalformedMessage.self) { try state.heard(.problem(.init(number: 2, path: [], reason: "x"))) }
  }

  @Test func `what comes at the wrong time is refused`() throws {
    for message in try samples() {
      var state = SendingState(.init())
      if case .hello = message { continue }
      #expect(throws: MalformedMessage.self, "\(message)") { try state.heard(message) }
    }
    var state = try sending()
    for message: TransferMessage in [.accept, .decline(""), .result(.init()), .complete, .data(slice([1]))] {
      #expect(throws: MalformedMessage.self, "\(message)") { try state.heard(message) }
    }
  }
}

@Suite struct ReceivingStateTests {
  private func receiving(files: UInt64 = 3, bytes: Int64 = 100) throws -> ReceivingState {
    var state = ReceivingState()
    _ = try state.heard(.hello(.init(sends: true, claim: [])))
    _ = try state.heard(.offer(offer(files: files, bytes: bytes)))
    state.accept()
    return state
  }

  @Test func `contents come in order, up to the size, of a file that was asked for`() throws {
    var state = try receiving()
    _ = try state.heard(.entry(try file("a")))
    #expect(throws: MalformedMessage.self) { try state.heard(.begin(number: 1, offset: 0)) }
    state.want(1, have: 4)
    #expect(throws: MalformedMessage.self) { try state.heard(.begin(number: 1, offset: 5)) }
    #expect(throws: MalformedMessage.self) { try state.heard(.data(slice([1]))) }
    _ = try state.heard(.begin(number: 1, offset: 4))
    guard case .data(1, 4, _) = try state.heard(.data(slice([1, 2, 3]))) else { throw TestFailure("no data") }
    #expect(throws: MalformedMessage.self) { try state.heard(.end(number: 1, hash: hash)) }
    #expect(throws: MalformedMessage.self) { try state.heard(.complete) }
    #expect(throws: MalformedMessage.self) { try state.heard(.data(slice([UInt8](repeating: 0, count: 4)))) }
    _ = try state.heard(.data(slice([1, 2, 3])))
    _ = try state.heard(.end(number: 1, hash: hash))
    #expect(throws: MalformedMessage.self) { try state.heard(.end(number: 1, hash: hash)) }
    _ = try state.heard(.complete)
  }

  @Test func `more than was offered is refused`() throws {
    var state = try receiving(files: 2, bytes: 15)
    _ = try state.heard(.entry(try file("a")))
    #expect(throws: MalformedMessage.self) {
      var state = state
      _ = try state.heard(.entry(try file("b", size: 6)))
    }
    #expect(throws: MalformedMessage.self) {
      var state = state
      _ = try state.heard(.entry(try file("b", size: Limits.Wire.fileSize)))
    }
    _ = try state.heard(.entry(try file("b", size: 5)))
    #expect(throws: MalformedMessage.self) { try state.heard(.entry(try file("c", size: 0))) }
  }

  @Test func `files are not announced without end`() throws {
    var state = try receiving(files: 1_000_000)
    for _ in 0..<Limits.Transfer.ahead { _ = try state.heard(.entry(try file("a", size: 0))) }
    #expect(throws: MalformedMessage.self) { try state.heard(.entry(try file("a", size: 0))) }
  }

  @Test func `a problem ends a file, and the next may begin`() throws {
    var state = try receiving()
    for name in ["a", "b"] { _ = try state.heard(.entry(try file(name))) }
    state.want(1, have: 0)
    state.want(2, have: 0)
    _ = try state.heard(.begin(number: 1, offset: 0))
    #expect(throws: MalformedMessage.self) { try state.heard(.begin(number: 2, offset: 0)) }
    _ = try state.heard(.problem(.init(number: 1, path: [], reason: "x")))
    _ = try state.heard(.begin(number: 2, offset: 0))
    #expect(throws: MalformedMessage.self) { try state.heard(.problem(.init(number: 1, path: [], reason: "x"))) }
  }

  @Test func `what comes at the wrong time is refused`() throws {
    for message in try samples() {
      var state = ReceivingState()
      if case .hello = message { continue }
      #expect(throws: MalformedMessage.self, "\(message)") { try state.heard(message) }
    }
  }
}
