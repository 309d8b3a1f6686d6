import P2PFSCore
import Testing

@testable import P2PFSTransport

@Suite struct StreamTableTests {
  @Test func `each side has streams of its own, the lowest first`() throws {
    var table = StreamTable<String>()
    #expect(try table.free(isClient: true) == 0)
    #expect(try table.free(isClient: false) == 1)
    table.open("a", on: 0)
    #expect(try table.free(isClient: true) == 2)
    #expect(table.violation(ofOpening: 1, isClient: true) == nil)
    #expect(table.violation(ofOpening: 2, isClient: true) != nil, "one of ours")
    table.open("b", on: 1)
    #expect(table.violation(ofOpening: 1, isClient: true) != nil, "opened twice")
    #expect(table[0] == "a" && table[1] == "b" && table[2] == nil)
  }

  @Test func `neither side opens more channels than the limit`() throws {
    var table = StreamTable<String>()
    for _ in 0..<Limits.Transport.channels { table.open("x", on: try table.free(isClient: true)) }
    #expect(throws: TransportError.wrongState("too many channels")) { try table.free(isClient: true) }
    #expect(throws: TransportError.wrongState("too many channels")) { try table.free(isClient: false) }
    #expect(table.violation(ofOpening: 1, isClient: true) == "too many channels")
    #expect(table.all.count == Limits.Transport.channels)
  }

  @Test(arguments: [true, false])
  func `a stream that we close is free when both directions are reset`(_ confirmedFirst: Bool) throws {
    var table = StreamTable<String>()
    table.open("a", on: 0)
    #expect(table.close(0) == "a")
    #expect(table.close(0) == nil)
    #expect(table.takeResets() == [0])
    #expect(table.takeResets() == [])
    #expect(try table.free(isClient: true) == 2)
    for isConfirmation in [confirmedFirst, !confirmedFirst] {
      #expect(try table.free(isClient: true) == 2)
      if isConfirmation { table.resetConfirmed(0) } else { #expect(table.resetByPeer([0]) == []) }
    }
    #expect(try table.free(isClient: true) == 0)
    #expect(table.takeResets() == [])
  }

  @Test func `a channel that the peer closes is reset by us, too`() throws {
    var table = StreamTable<String>()
    table.open("a", on: 0)
    #expect(table.resetByPeer([0]) == ["a"])
    #expect(table[0] == nil)
    #expect(table.takeResets() == [0])
    #expect(try table.free(isClient: true) == 2)
    table.resetConfirmed(0)
    #expect(try table.free(isClient: true) == 0)
  }

  @Test func `a reset without a list closes every channel`() throws {
    var table = StreamTable<String>()
    for stream in UInt16(0)..<4 { table.open("\(stream)", on: stream) }
    #expect(table.close(2) == "2")
    #expect(Set(table.resetByPeer([])) == ["0", "1", "3"])
    #expect(Set(table.takeResets()) == [0, 1, 2, 3])
    for stream in UInt16(0)..<4 { table.resetConfirmed(stream) }
    #expect(try table.free(isClient: true) == 0)
    #expect(table.resetByPeer([]) == [])
  }

  @Test func `resets and confirmations of streams that nobody uses change nothing`() throws {
    var table = StreamTable<String>()
    for stream in [0, 1, 77, UInt16.max] {
      #expect(table.resetByPeer([stream]) == [])
      table.resetConfirmed(stream)
    }
    #expect(table.takeResets() == [])
    table.open("a", on: 0)
    table.resetConfirmed(0)
    #expect(table[0] == "a")
    #expect(table.close(0) == "a")
    table.resetConfirmed(0)
    table.resetConfirmed(0)
    #expect(try table.free(isClient: true) == 2, "the peer has not reset its direction")
  }

  @Test func `a stream opened anew before our reset was confirmed is reset again after that`() throws {
    var table = StreamTable<String>()
    table.open("first", on: 1)
    #expect(table.close(1) == "first")
    #expect(table.takeResets() == [1])
    #expect(table.resetByPeer([1]) == [])
    #expect(table.violation(ofOpening: 1, isClient: true) == nil)
    table.open("second", on: 1)
    #expect(table.close(1) == "second")
    // SCTP would take a second request for the first one.
    #expect(table.takeResets() == [])
    table.resetConfirmed(1)
    #expect(table.takeResets() == [1])
    #expect(table.resetByPeer([1]) == [])
    table.open("third", on: 1)
    table.resetConfirmed(1)
    #expect(table[1] == "third")
    #expect(table.resetByPeer([1]) == ["third"])
    #expect(table.takeResets() == [1])
  }
}
