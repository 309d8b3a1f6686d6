import P2PFSCore
import Testing

@testable import P2PFSPairing

@Suite struct HandshakeTests {
  private static let code = try! Code(parsing: "482153-lusab-babad")
  private static let credential = Credential(code)
  private static let wrong = Credential(try! Code(parsing: "482153-lusab-babaf"))

  /// A whole handshake; what `change` makes of each message is what arrives.
  private func meet(
    _ guestKnows: Credential = credential, _ hostKnows: Credential = credential, offer: [UInt8] = [],
    change: (Int, [UInt8]) -> [UInt8] = { $1 }
  ) throws -> (guest: PairedSession, host: PairedSession, offer: [UInt8])? {
    var guest = GuestHandshake(guestKnows, offer: offer)
    var host = HostHandshake(hostKnows)
    guard case .reply(let share) = try host.receive(change(0, guest.opening)),
      case .reply(let proof) = try guest.receive(change(1, share))
    else { return nil }
    switch try host.receive(change(2, proof)) {
    case .established(let hostSession, let confirmation, let received):
      guard case .established(let guestSession) = try guest.receive(change(3, confirmation)) else { return nil }
      return (guestSession, hostSession, received)
    case .wrongCode:
      _ = try guest.receive(change(3, HostHandshake.refusal(attemptsLeft: 9)))
      return nil
    case .reply: return nil
    }
  }

  @Test("Two sides with one code agree, and talk sealed both ways")
  func agreement() throws {
    var (guest, host, offer) = try #require(try meet(offer: [1, 2, 3]))
    #expect(offer == [1, 2, 3])
    #expect(guest.resumption == host.resumption)
    #expect(guest.binding.hex == host.binding.hex)
    for length in [0, 1, 1000, Limits.Pairing.sealed] {
      let text = [UInt8](repeating: 0x41, count: length)
      #expect(try host.receiver.open(guest.sender.seal(text)) == text)
      #expect(try guest.receiver.open(host.sender.seal(text)) == text)
    }
  }

  @Test("Each handshake has keys of its own")
  func freshness() throws {
    let first = try #require(try meet())
    let second = try #require(try meet())
    #expect(first.guest.binding.hex != second.guest.binding.hex)
    #expect(first.guest.resumption != second.guest.resumption)
  }

  @Test("A wrong code is seen by the host first, and told to the guest")
  func wrongCode() throws {
    #expect(throws: HandshakeError.wrongCode(attemptsLeft: 9)) { try meet(Self.wrong) }
    #expect(throws: HandshakeError.wrongCode(attemptsLeft: 9)) { try meet(Self.credential, Self.wrong) }
  }

  @Test("A host that does not know the code cannot pretend to")
  func pretendingHost() throws {
    var guest = GuestHandshake(Self.credential)
    var impostor = HostHandshake(Self.wrong)
    guard case .reply(let share) = try impostor.receive(guest.opening) else { return }
    _ = try guest.receive(share)
    let guess = HandshakeMessage.accept(confirmation: [UInt8](repeating: 0, count: 32)).encoded
    #expect(throws: HandshakeError.wrongCode(attemptsLeft: nil)) { try guest.receive(guess) }
  }

  @Test("A code is proved once, and begun as often as a host comes before that")
  func provedOnce() throws {
    var guest = GuestHandshake(Self.credential, offer: [1])
    let first = guest.opening
    #expect(try guest.begin() != first)
    var host = HostHandshake(Self.credential)
    guard case .reply(let share) = try host.receive(try guest.begin()) else { throw HandshakeError.malformed }
    #expect(!guest.hasRiskedGuess)
    guard case .reply = try guest.receive(share) else { throw HandshakeError.malformed }
    #expect(guest.hasRiskedGuess)
    #expect(throws: HandshakeError.provedAlready) { try guest.begin() }
    #expect(throws: HandshakeError.outOfOrder) { try guest.receive(share) }
  }

  @Test("What nobody can guess may be proved again")
  func provedAgain() throws {
    let known = Credential(try #require(try meet()).guest.resumption)
    var guest = GuestHandshake(known)
    for _ in 0..<3 {
      var host = HostHandshake(known)
      guard case .reply(let share) = try host.receive(try guest.begin()),
        case .reply = try guest.receive(share)
      else { throw HandshakeError.malformed }
      #expect(!guest.hasRiskedGuess)
    }
  }

  @Test("Codes are replaced ever more slowly")
  func pause() {
    var pause = RenewalPause()
    #expect((0..<9).map { _ in pause.next() } == [0, 60, 120, 240, 480, 960, 1920, 3600, 3600])
  }

  @Test("The same words for another room are another secret")
  func otherRoom() throws {
    let other = Credential(try Code(parsing: "482154-lusab-babad"))
    #expect(throws: HandshakeError.self) { try meet(other) }
  }

  @Test("A server that changes any byte of any message makes the handshake fail", arguments: 0..<4)
  func tampering(_ message: Int) throws {
    for position in [0, 1, 2, 20, 32, 33, 64, 65] {
      #expect(throws: HandshakeError.self) {
        let result = try meet(offer: [1, 2, 3]) { index, bytes in
          guard index == message else { return bytes }
          var bytes = bytes
          bytes[min(position, bytes.count - 1)] ^= 0x40
          return bytes
        }
        if result == nil { throw HandshakeError.malformed }
      }
    }
  }

  @Test("A server that puts its own key between the two is a wrong code to both")
  func manInTheMiddle() throws {
    var guest = GuestHandshake(Self.credential)
    var host = HostHandshake(Self.credential)
    var toGuest = HostHandshake(Self.wrong)
    let toHost = GuestHandshake(Self.wrong)
    guard case .reply(let falseShare) = try toGuest.receive(guest.opening),
      case .reply(let proof) = try guest.receive(falseShare),
      case .reply = try host.receive(toHost.opening)
    else { throw HandshakeError.malformed }
    guard case .wrongCode = try toGuest.receive(proof) else { throw HandshakeError.malformed }
    guard case .wrongCode = try host.receive(proof) else { throw HandshakeError.malformed }
  }

  @Test("Messages of an earlier handshake are worth nothing in a later one")
  func replay() throws {
    var recorded: [[UInt8]] = []
    _ = try meet(offer: [1]) {
      recorded.append($1); return $1
    }
    // The guest's side played again to the host.
    var host = HostHandshake(Self.credential)
    _ = try host.receive(recorded[0])
    guard case .wrongCode = try host.receive(recorded[2]) else { throw HandshakeError.malformed }
    // The host's side played again to the guest.
    var guest = GuestHandshake(Self.credential, offer: [1])
    _ = try guest.receive(recorded[1])
    #expect(throws: HandshakeError.wrongCode(attemptsLeft: nil)) { try guest.receive(recorded[3]) }
  }

  @Test("Messages out of their turn, repeated, reflected, unknown or cut short are refused, and end the handshake")
  func order() throws {
    var host = HostHandshake(Self.credential)
    #expect(throws: HandshakeError.outOfOrder) {
      try host.receive(HandshakeMessage.accept(confirmation: [UInt8](repeating: 0, count: 32)).encoded)
    }
    let opening = GuestHandshake(Self.credential).opening
    #expect(throws: HandshakeError.outOfOrder) { try host.receive(opening) }
    var twice = HostHandshake(Self.credential)
    _ = try twice.receive(opening)
    #expect(throws: HandshakeError.outOfOrder) { try twice.receive(opening) }
    var reflected = GuestHandshake(Self.credential)
    #expect(throws: HandshakeError.outOfOrder) { try reflected.receive(reflected.opening) }
    for bytes in [[], [0], [9, 9], Array(opening.dropLast()), opening + [0], [3], [5], [6, 0]] {
      var host = HostHandshake(Self.credential)
      #expect(throws: HandshakeError.malformed) { try host.receive(bytes) }
      var guest = GuestHandshake(Self.credential)
      #expect(throws: HandshakeError.malformed) { try guest.receive(bytes) }
    }
    var future = HostHandshake(Self.credential)
    #expect(throws: HandshakeError.version(2)) { try future.receive([1, 2] + opening[2...]) }
    var offCurve = HostHandshake(Self.credential)
    #expect(throws: HandshakeError.invalidShare) { try offCurve.receive([1, 1, 4] + [UInt8](repeating: 1, count: 64)) }
  }

  @Test("By the resumption secret both meet again, and it stays the same")
  func resumption() throws {
    let first = try #require(try meet())
    let kept = first.guest.resumption.bytes.withBytes { Array($0) }
    let guest = Credential(try #require(ResumptionSecret(bytes: kept)))
    let host = Credential(first.host.resumption)
    #expect(guest.room == host.room)
    #expect(guest.room.utf8.count == 32)
    let second = try #require(try meet(guest, host))
    #expect(second.guest.resumption == first.guest.resumption)
    #expect(second.host.resumption == first.guest.resumption)
    #expect(second.guest.binding.hex != first.guest.binding.hex)
    let stranger = Credential(ResumptionSecret(Secret.random(count: 32)))
    #expect(throws: HandshakeError.wrongCode(attemptsLeft: 9)) { try meet(stranger, host) }
  }

  @Test("Sealed messages are opened once, in order, in their direction and session")
  func seal() throws {
    var (guest, host, _) = try #require(try meet())
    let (other, _, _) = try #require(try meet())
    var stranger = other
    let zero = try guest.sender.seal([0])
    let one = try guest.sender.seal([1])
    #expect(throws: SealError.outOfOrder) { try host.receiver.open(one) }
    #expect(try host.receiver.open(zero) == [0])
    #expect(throws: SealError.replayed) { try host.receiver.open(zero) }
    #expect(throws: SealError.forged) { try guest.receiver.open(zero) }
    #expect(throws: SealError.forged) { try stranger.receiver.open(zero) }
    for length in 0..<one.count {
      #expect(throws: length < SealedSender.overhead ? SealError.truncated : .forged) {
        try host.receiver.open(Array(one.prefix(length)))
      }
    }
    for position in one.indices {
      var flipped = one
      flipped[position] ^= 1
      #expect(throws: position == 0 ? SealError.notSealed : .forged) { try host.receiver.open(flipped) }
    }
    #expect(throws: SealError.tooLong) {
      try guest.sender.seal([UInt8](repeating: 0, count: Limits.Pairing.sealed + 1))
    }
    #expect(throws: SealError.tooLong) { try host.receiver.open([UInt8](repeating: 6, count: 100_000)) }
    #expect(try host.receiver.open(one) == [1])
  }

  @Test("Ten wrong attempts spend a code")
  func attempts() {
    var limit = AttemptLimit()
    for left in (0..<10).reversed() {
      #expect(!limit.isSpent)
      #expect(limit.countWrong() == left)
    }
    #expect(limit.isSpent)
    #expect(limit.countWrong() == 0)
    #expect(AttemptLimit(left: 3).left == 3)
    #expect(AttemptLimit(left: 300).left == 10)
    #expect(AttemptLimit(left: -1).isSpent)
  }

  @Test("No description and no dump has a secret")
  func secrecy() throws {
    let session = try #require(try meet()).guest
    let secrets = [Self.code.secret, "lusab", session.resumption.bytes.hex, session.binding.hex]
    var texts = ["\(Self.code)", "\(Self.credential)", "\(session)", String(reflecting: Self.code)]
    var dumped = ""
    dump(Self.code, to: &dumped)
    dump(session, to: &dumped)
    texts.append(dumped)
    for text in texts { for secret in secrets { #expect(!text.contains(secret)) } }
  }
}
