import P2PFSCore
import P2PFSPairing
import P2PFSSignaling
import P2PFSTransport
import Testing

@testable import P2PFSMeeting

/// Both sides of a meeting against each other as values, with the signaling server as the test wants it.
@Suite struct MeetingStateTests {
  private static let code = Credential(Code.random())
  private static let secret: Credential = {
    guard let secret = ResumptionSecret(bytes: [UInt8](repeating: 7, count: 32)) else {
      preconditionFailure("32 bytes")
    }
    return Credential(secret)
  }()

  /// What became of the actions of one side.
  private struct Side {
    var wire: [[UInt8]] = []
    var applied: [MeetingMessage] = []
    var isAwaiting = false
    var result: ResumptionSecret?
    var failure: String?

    mutating func perform(_ actions: [MeetingAction]) -> String? {
      for action in actions where failure == nil {
        switch action {
        case .send(let payload): wire.append(payload)
        case .apply(let message): applied.append(message)
        case .awaitConnection: isAwaiting = true
        case .finish(let secret): result = secret
        case .fail(let error): failure = "\(error)"
        case .admit(let offer): return offer
        case .limit, .unlimited, .reportConnecting: break
        }
      }
      return nil
    }
  }

  private struct Meeting {
    var guest: GuestMeetingState
    var host: HostMeetingState
    var (guestSide, hostSide) = (Side(), Side())
    var guesses = 10
    var refusal: String?
    let credential: Credential

    init(_ guestCredential: Credential, _ hostCredential: Credential, waits: Bool = false) {
      guest = GuestMeetingState(
        guestCredential, offer: "offer", waits: waits, patience: Limits.Transport.connecting)
      host = HostMeetingState(hostCredential)
      credential = hostCredential
      _ = hostSide.perform(host.begin())
      _ = guestSide.perform(guest.begin())
    }

    /// Delivers one message to the host; returns whether there was one.
    mutating func toHost() -> Bool {
      guard !guestSide.wire.isEmpty else { return false }
      receive(guestSide.wire.removeFirst())
      return true
    }

    mutating func receive(_ payload: [UInt8]) {
      guard hostSide.failure == nil else { return }
      var guesses = guesses
      let actions = host.received(payload) { verify in
        if verify() { return nil }
        guesses -= 1
        return guesses
      }
      self.guesses = guesses
      guard let offer = hostSide.perform(actions) else { return }
      #expect(offer == "offer")
      if let refusal {
        _ = hostSide.perform(host.refuse(refusal))
      } else {
        _ = hostSide.perform(host.answer("answer"))
      }
    }

    mutating func toGuest() -> Bool {
      guard !hostSide.wire.isEmpty else { return false }
      let payload = hostSide.wire.removeFirst()
      if guestSide.failure == nil { _ = guestSide.perform(guest.received(payload)) }
      return true
    }

    mutating func run() {
      while true {
        let (up, down) = (toHost(), toGuest())
        if !up, !down { return }
      }
    }

    /// Another host takes the place of this one, as when it is started again.
    mutating func restartHost() {
      host = HostMeetingState(credential)
      hostSide = Side()
      _ = hostSide.perform(host.begin())
      guestSide.wire = []
      _ = guestSide.perform(guest.hostLeft())
      if guestSide.failure == nil { _ = guestSide.perform(guest.hostArrived()) }
    }
  }

  @Test(arguments: [false, true]) func `the same code or secret leads to a connection and to one secret`(
    isResumption: Bool
  ) throws {
    let credential = isResumption ? Self.secret : Self.code
    var meeting = Meeting(credential, credential)
    // Found before the host is known: sent when it is.
    _ = meeting.guestSide.perform(meeting.guest.found(.candidate("early")))
    meeting.run()
    _ = meeting.hostSide.perform(meeting.host.found(.candidate("host")))
    _ = meeting.guestSide.perform(meeting.guest.found(.endOfCandidates))
    meeting.run()
    #expect(meeting.guestSide.isAwaiting && meeting.hostSide.isAwaiting)
    #expect(meeting.guestSide.applied == [.description("answer"), .candidate("host")])
    #expect(meeting.hostSide.applied == [.candidate("early"), .endOfCandidates])
    // The server is needed no longer.
    _ = meeting.guestSide.perform(meeting.guest.left(nil))
    _ = meeting.hostSide.perform(meeting.host.left())
    _ = meeting.guestSide.perform(meeting.guest.connected(.success(())))
    _ = meeting.hostSide.perform(meeting.host.connected(.success(())))
    #expect(meeting.guestSide.failure == nil && meeting.hostSide.failure == nil)
    let (one, other) = (try #require(meeting.guestSide.result), try #require(meeting.hostSide.result))
    #expect(one.room == other.room)
    #expect(meeting.guesses == 10)
  }

  @Test func `a wrong code is counted and told, and nothing is described`() throws {
    var meeting = Meeting(Self.code, Self.secret)
    meeting.run()
    #expect(meeting.guesses == 9)
    #expect(meeting.guestSide.failure == "wrong code" && meeting.hostSide.failure == "wrong code")
    #expect(meeting.guestSide.applied.isEmpty && !meeting.guestSide.isAwaiting)
  }

  @Test func `a guest for whom there is no room hears why`() throws {
    var meeting = Meeting(Self.code, Self.code)
    meeting.refusal = "full"
    meeting.run()
    #expect(meeting.guestSide.failure == "refused: full" && meeting.hostSide.failure == "refused: full")
    #expect(!meeting.hostSide.isAwaiting && meeting.guestSide.applied.isEmpty)
  }

  @Test func `a server that repeats, exchanges or forges messages fails the meeting`() throws {
    for tamper in 0..<3 {
      var meeting = Meeting(Self.code, Self.code)
      // The hello, and the host's share; then the proof, to which the host answers at length.
      let delivered1 = [meeting.toHost(), meeting.toGuest(), meeting.toHost()]
      #expect(delivered1.allSatisfy { $0 })
      for name in ["one", "two"] { _ = meeting.hostSide.perform(meeting.host.found(.candidate(name))) }
      let delivered2 = [meeting.toGuest()]
      #expect(delivered2.allSatisfy { $0 })
      var wire = meeting.hostSide.wire
      #expect(wire.count == 3)
      switch tamper {
      case 0: wire.insert(wire[0], at: 1)
      case 1: wire.swapAt(1, 2)
      default: wire[1][20] ^= 1
      }
      meeting.hostSide.wire = wire
      meeting.run()
      #expect(meeting.guestSide.failure?.contains("not from who knows the code") ?? false, "\(tamper)")
    }
  }

  @Test func `a host that is started again before the proof is met anew`() throws {
    var meeting = Meeting(Self.code, Self.code, waits: true)
    let delivered3 = [meeting.toHost()]
    #expect(delivered3.allSatisfy { $0 })
    meeting.restartHost()
    meeting.run()
    #expect(meeting.guestSide.isAwaiting && meeting.hostSide.isAwaiting && meeting.guestSide.failure == nil)
  }

  @Test func `a code is proved to one host only, a secret to any`() throws {
    var meeting = Meeting(Self.code, Self.code, waits: true)
    let delivered4 = [meeting.toHost(), meeting.toGuest()]
    #expect(delivered4.allSatisfy { $0 })
    meeting.restartHost()
    #expect(meeting.guestSide.failure == "\(MeetingError.brokenOff(isConfirmed: false))")
    #expect(meeting.guestSide.wire.isEmpty)

    var resumed = Meeting(Self.secret, Self.secret, waits: true)
    let delivered5 = [resumed.toHost(), resumed.toGuest()]
    #expect(delivered5.allSatisfy { $0 })
    resumed.restartHost()
    resumed.run()
    #expect(resumed.guestSide.isAwaiting && resumed.hostSide.isAwaiting && resumed.guestSide.failure == nil)
  }

  @Test func `what may be tried again without the user is only what comes before the proof`() throws {
    var meeting = Meeting(Self.code, Self.code)
    guard case .fail(.abandoned)? = meeting.guest.left(nil).first else { return #expect(Bool(false)) }
    guard case .fail(.signaling)? = meeting.guest.left(.nobodyThere).first else { return #expect(Bool(false)) }
    let delivered6 = [meeting.toHost(), meeting.toGuest()]
    #expect(delivered6.allSatisfy { $0 })
    guard case .fail(.brokenOff(isConfirmed: false))? = meeting.guest.left(.nobodyThere).first else {
      return #expect(Bool(false))
    }
    let delivered7 = [meeting.toHost(), meeting.toGuest()]
    #expect(delivered7.allSatisfy { $0 })
    guard case .fail(.brokenOff(isConfirmed: true))? = meeting.guest.left(nil).first else {
      return #expect(Bool(false))
    }
    guard case .brokenOff(isConfirmed: true) = meeting.guest.failure else { return #expect(Bool(false)) }
  }

  @Test func `a guest that leaves before it is connected is given up`() throws {
    var meeting = Meeting(Self.code, Self.code)
    let delivered8 = [meeting.toHost()]
    #expect(delivered8.allSatisfy { $0 })
    _ = meeting.hostSide.perform(meeting.host.left())
    #expect(meeting.hostSide.failure != nil)
  }
}
