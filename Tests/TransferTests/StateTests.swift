import P2PFSCore
import SystemPackage
import Rig
import Testing
import P2PFSWire

@testable import P2PFSTransfer

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

@Suite(.onThreads) struct SendingStateTests {
  private func sending(files: UInt64 = 3, bytes: Int64 = 100) throws -> SendingState {
    var state = SendingState()
    state.offer(offer(files: files, bytes: bytes))
    _ = try state.heard(.hello(.init(sends: false, claim: [])))
    _ = try state.heard(.accept)
    return state
  }

  @Test func `a file is wanted once, and only what is there of it`() throws {
    var state = try sending()
    #expect(state.announce(try file("a")) == 1)
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
    #expect(state.announce(try file("a")) == 1)
    #expect(state.announce(try file("b")) == nil)
    #expect(state.announce(try file("c", size: 5)) == 2)
    #expect(state.announce(try file("d", size: 0)) == nil)
  }

  @Test func `a problem settles a file that has no answer, and marks one that is being sent`() throws {
    var state = try sending()
    _ = state.announce(try file("a"))
    _ = state.announce(try file("b"))
    _ = try state.heard(.want(number: 2, have: 0, hash: nil))
    _ = try state.heard(.problem(.init(number: 1, path: [], reason: "x")))
    #expect(state.unsettledCount == 1 && !state.isRefused(2))
    _ = try state.heard(.problem(.init(number: 2, path: [], reason: "x")))
    #expect(state.unsettledCount == 1 && state.isRefused(2))
    #expect(throws: MalformedMessage.self) { try state.heard(.problem(.init(number: 2, path: [], reason: "x"))) }
  }

  @Test func `what comes at the wrong time is refused`() throws {
    for message in try samples() {
      var state = SendingState()
      if case .hello = message { continue }
      #expect(throws: MalformedMessage.self, "\(message)") { try state.heard(message) }
    }
    var state = try sending()
    for message: TransferMessage in [.accept, .decline(""), .result(.init()), .complete, .data(slice([1]))] {
      #expect(throws: MalformedMessage.self, "\(message)") { try state.heard(message) }
    }
  }
}

@Suite(.onThreads) struct ReceivingStateTests {
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

  @Test func `each kind is held to its own count, and names at the top to what was told`() throws {
    var offered = TransferMessage.Offer()
    (offered.files, offered.directories, offered.bytes, offered.tops) = (3, 1, 100, 18)
    offered.names = (0..<16).map { Array("\($0 + 10)".utf8) }
    func heard(_ entries: TransferEntry...) throws {
      var state = ReceivingState()
      _ = try state.heard(.hello(.init(sends: true, claim: [])))
      _ = try state.heard(.offer(offered))
      state.accept()
      for entry in entries { _ = try state.heard(.entry(entry)) }
    }
    let directory = TransferEntry(
      .directory, mode: 0o755, modified: Timestamp(seconds: 0, nanoseconds: 0), path: try Path(Array("10".utf8)))
    try heard(directory, file("10/x"), file("11"), file("13"))
    try heard(file("10"), file(".bashrc"), file(".profile"))
    #expect(throws: MalformedMessage.self) { try heard(directory, directory) }
    #expect(throws: MalformedMessage.self) { try heard(file("a"), file("b"), file("c")) }
    #expect(throws: MalformedMessage.self) { try heard(file("11"), file("10")) }
    #expect(throws: MalformedMessage.self) { try heard(file("10"), file("11"), file("10/x")) }
    #expect(throws: MalformedMessage.self) { try heard(file("a"), file("10")) }
    offered.tops = 16
    #expect(throws: MalformedMessage.self) { try heard(file(".bashrc")) }
    try heard(file("25"))
  }

  @Test func `what this side has given up on is told from what the sender leaves out`() throws {
    var state = try receiving(files: 4)
    for name in ["a", "b", "c"] { _ = try state.heard(.entry(try file(name))) }
    for number in 1...2 as ClosedRange<UInt64> { state.want(number, have: 0) }
    _ = try state.heard(.begin(number: 1, offset: 0))
    state.giveUp(1)
    guard case .problem(_, isEcho: true) = try state.heard(.problem(.init(number: 1, path: [], reason: ""))),
      case .problem(_, isEcho: false) = try state.heard(.problem(.init(number: 2, path: [], reason: "")))
    else { throw TestFailure("taken for each other") }
    state.giveUp(2)
    state.refuse(3)
    #expect(state.missing == 1)
    _ = try state.heard(.problem(.init(number: 0, path: [], reason: "x")))
    #expect(state.missing == 0)
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
