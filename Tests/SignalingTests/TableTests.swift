import NIOCore
import P2PFSCore
import Rig
import Testing

@testable import P2PFSSignaling

/// What a connection may say in which time.
@Suite struct TokenBucketTests {
  private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: 5_000_000_000).advanced(by: seconds) }

  @Test func `it gives its burst at once, and then its rate`() {
    var bucket = TokenBucket(rate: 10, burst: 20, now: at(0))
    holds((0..<20).allSatisfy { _ in bucket.take(1, now: at(0)) })
    holds(!bucket.take(1, now: at(0)) && !bucket.take(1, now: at(0.09)))
    holds(bucket.take(1, now: at(0.11)) && !bucket.take(1, now: at(0.11)))
    // However long nobody takes, no more than the burst gathers.
    holds(bucket.take(20, now: at(1_000)) && !bucket.take(1, now: at(1_000)))
  }

  @Test func `what is refused takes nothing`() {
    var bucket = TokenBucket(rate: 1, burst: 5, now: at(0))
    for _ in 0..<10 { holds(!bucket.take(6, now: at(0))) }
    holds(bucket.take(5, now: at(0)))
  }

  @Test func `a clock that stands still or goes back fills nothing`() {
    var bucket = TokenBucket(rate: 1_000, burst: 5, now: at(10))
    holds(bucket.take(5, now: at(10)))
    holds(!bucket.take(1, now: at(3)) && !bucket.isFull(now: at(3)))
  }

  @Test func `it is full when all has come back`() {
    var bucket = TokenBucket(rate: 2, burst: 4, now: at(0))
    holds(bucket.isFull(now: at(0)))
    holds(bucket.take(1, now: at(0)))
    holds(!bucket.isFull(now: at(0.4)) && bucket.isFull(now: at(0.5)))
  }
}

/// Who is in a room, and who is told of it.
@Suite struct RoomTableTests {
  private let now = Instant(nanoseconds: 1_000_000_000)
  private let here = AddressKey([10, 0, 0, 1])
  private func id(_ number: UInt64) -> ConnectionID { ConnectionID(rawValue: number) }
  private func room(_ text: String = "482153") throws -> Room { try #require(Room(text)) }

  @Test func `a room is its host's, and reserved for it while it is away without a word`() throws {
    var bounds = SignalBounds()
    bounds.reservation = 30
    var table = RoomTable(bounds: bounds)
    let room = try room()
    let (owner, stranger) = (RoomToken.random(), RoomToken.random())
    let host = Join(room: room, role: .host(owner))
    let other = Join(room: room, role: .host(stranger))
    #expect(table.refusal(of: Join(room: room, role: .guest(waits: false)), from: here, now: now) == .nobodyThere)
    _ = table.admit(id(1), host, from: here, now: now)
    #expect(table.refusal(of: other, from: here, now: now) == .occupied)
    // By another connection it replaces itself.
    let actions = table.admit(id(2), host, from: here, now: now)
    #expect(actions.first == .welcome(id(2), isHostThere: true, isMeeting: false))
    #expect(actions.contains { if case .close(self.id(1), _, _) = $0 { true } else { false } })
    // That the old one is gone changes nothing.
    #expect(table.left(id(1), isClean: false, now: now) == [])
    #expect(table.count == 1)
    _ = table.left(id(2), isClean: false, now: now)
    #expect(table.refusal(of: other, from: here, now: now.advanced(by: 29)) == .occupied)
    #expect(table.refusal(of: host, from: here, now: now.advanced(by: 29)) == nil)
    #expect(table.refusal(of: other, from: here, now: now.advanced(by: 30)) == nil)
    _ = table.expire(now: now.advanced(by: 30))
    #expect(table.count == 0)
  }

  @Test(arguments: [(true, false), (false, true)]) func `a host that says goodbye, or is transient, leaves it free`(
    isClean: Bool, isTransient: Bool
  ) throws {
    var table = RoomTable(bounds: SignalBounds())
    let room = try room()
    _ = table.admit(id(1), Join(room: room, role: .host(.random(), isTransient: isTransient)), from: here, now: now)
    _ = table.left(id(1), isClean: isClean, now: now)
    #expect(table.count == 0)
    #expect(table.refusal(of: Join(room: room, role: .host(.random())), from: here, now: now) == nil)
  }

  @Test func `a guest that waits meets the host, and each hears what the other says`() throws {
    var table = RoomTable(bounds: SignalBounds())
    let room = try room()
    let guest = Join(room: room, role: .guest(waits: true))
    #expect(
      table.admit(id(1), guest, from: here, now: now) == [.welcome(id(1), isHostThere: false, isMeeting: false)])
    let actions = table.admit(id(2), Join(room: room, role: .host(.random())), from: here, now: now)
    let number = try #require(
      actions.compactMap { if case .send(self.id(2), .guestJoined(let guest)) = $0 { guest } else { nil } }.first)
    #expect(actions.first == .welcome(id(2), isHostThere: true, isMeeting: true))
    #expect(actions.contains(.send(id(1), .hostArrived)) && actions.contains(.introduceRelays(id(1))))
    let payload = ByteBuffer(bytes: [1, 2, 3])
    #expect(table.received(.plain(payload), from: id(1)) == [.send(id(2), .fromOrToGuest(number, payload))])
    #expect(table.received(.fromOrToGuest(number, payload), from: id(2)) == [.send(id(1), .plain(payload))])
    // Neither may say what is the other's to say, and nobody else anything.
    #expect(table.received(.plain(payload), from: id(2)) == nil)
    #expect(table.received(.guestLeft(number), from: id(1)) == nil)
    #expect(table.received(.plain(payload), from: id(9)) == nil)
    #expect(table.left(id(1), isClean: true, now: now) == [.send(id(2), .guestLeft(number))])
    // What was on its way to the guest goes nowhere.
    #expect(table.received(.fromOrToGuest(number, payload), from: id(2)) == [])
  }

  @Test func `there are no more rooms than the bound`() throws {
    var bounds = SignalBounds()
    bounds.rooms = 2
    var table = RoomTable(bounds: bounds)
    for number in 1...2 as ClosedRange<UInt64> {
      let join = Join(room: try room("10000\(number)"), role: .host(.random()))
      _ = table.admit(id(number), join, from: here, now: now)
    }
    let third = try room("100003")
    #expect(table.refusal(of: Join(room: third, role: .host(.random())), from: here, now: now) == .tooManyRooms)
    #expect(table.refusal(of: Join(room: third, role: .guest(waits: true)), from: here, now: now) == .tooManyRooms)
    _ = table.left(id(1), isClean: true, now: now)
    #expect(table.refusal(of: Join(room: third, role: .host(.random())), from: here, now: now) == nil)
  }

  @Test func `whoever comes and goes, nothing is kept of them`() throws {
    var bounds = SignalBounds()
    (bounds.rooms, bounds.guests, bounds.reservation) = (5, 3, 10)
    var table = RoomTable(bounds: bounds)
    var random = SystemRandomNumberGenerator()
    var time = now
    var there: [ConnectionID] = []
    let tokens = (0..<3).map { _ in RoomToken.random() }
    let rooms = try (0..<8).map { try room("20000\($0)") }
    for number in 1...20_000 as ClosedRange<UInt64> {
      time = time.advanced(by: .random(in: 0...1, using: &random))
      guard let chosen = rooms.randomElement(), let token = tokens.randomElement() else { break }
      let role: Join.Role =
        Bool.random(using: &random)
        ? .host(token, isTransient: Bool.random(using: &random)) : .guest(waits: Bool.random(using: &random))
      let join = Join(room: chosen, role: role)
      let address = AddressKey([10, 0, 0, .random(in: 0...3, using: &random)])
      if table.refusal(of: join, from: address, now: time) == nil {
        there.append(id(number))
        for case .close(let closed, _, _) in table.admit(id(number), join, from: address, now: time) {
          there.removeAll { $0 == closed }
        }
      }
      #expect(table.count <= bounds.rooms)
      while there.count > 6, let gone = there.randomElement() {
        there.removeAll { $0 == gone }
        _ = table.left(gone, isClean: Bool.random(using: &random), now: time)
      }
      for case .close(let closed, _, _) in table.expire(now: time) {
        there.removeAll { $0 == closed }
        _ = table.left(closed, isClean: false, now: time)
      }
    }
    for connection in there { _ = table.left(connection, isClean: false, now: time) }
    _ = table.expire(now: time.advanced(by: 10))
    #expect(table.count == 0)
  }
}
