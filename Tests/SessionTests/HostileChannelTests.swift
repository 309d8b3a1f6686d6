import P2PFSCore
import Glibc
import Rig
import Synchronization
import Testing
import P2PFSWire

@testable import P2PFSSession

/// Channels of a peer that does not keep to the protocol, or makes the most of it.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct HostileChannelTests {
  /// A session, and a peer made by hand that has greeted it.
  private struct Victim: @unchecked Sendable {  // the links are thread-safe
    let session = Session(.init(identity: Pair.identity))
    let links = MemoryLink.pair()
    let accepted = Counter()

    init() {
      session.acceptChannels { [accepted] channel in
        accepted.add(channel)
        channel.accept()
      }
      links.1.attach(Deaf())
      session.connect(links.0)
      links.1.send(
        Hello(session: Pair.identity, flags: [], requests: 10, writeCredit: 0, instance: 1, machine: 0).encoded(),
        on: .control)
    }

    /// Opens a data channel by hand and says `messages` on it. Returns what is answered.
    func say(_ messages: [Frame], label: String = "test") -> Counter {
      #expect(eventually { session.isOnline })
      let answers = Counter()
      links.1.openChannel(label) { channel in
        guard let channel else { return }
        answers.keep(channel)
        channel.attach(onMessage: { answers.add($0) }, onClose: { _ in })
        for message in messages { channel.send(message) }
      }
      return answers
    }

    var isCutOff: Bool { eventually { !session.isOnline } }
  }

  private final class Deaf: LinkReceiver {
    func received(_ frame: Frame, on lane: Lane) {}
    func drained() {}
    func opened(_ channel: any LinkChannel) {}
    func lost() {}
  }

  private final class Counter: Sendable {
    private let state = Mutex<(channels: [SessionChannel], frames: [Frame], kept: [any LinkChannel])>(([], [], []))
    func add(_ channel: SessionChannel) { state.withLock { $0.channels.append(channel) } }
    func add(_ frame: Frame) { state.withLock { $0.frames.append(frame) } }
    func keep(_ channel: any LinkChannel) { state.withLock { $0.kept.append(channel) } }
    var channels: [SessionChannel] { state.withLock { $0.channels } }
    var messages: [ChannelMessage] { state.withLock { $0.frames }.compactMap { try? ChannelMessage(parsing: $0) } }
  }

  private static func open(_ number: UInt64, known: Bool = false, received: UInt64 = 0, consumed: UInt64 = 0) -> Frame {
    ChannelMessage.open(
      .init(
        number: number, isKnown: known, keepsMessages: false, received: received, consumed: consumed,
        limit: Limits.Channel.window)
    ).frame
  }

  private static func data(_ count: Int, at position: UInt64) -> Frame {
    let frame = ChannelMessage.dataFrame(capacity: count)
    frame.count += count
    ChannelMessage.number(frame, position)
    return frame
  }

  static let violations: [(String, [Frame])] = [
    ("nothing", [Frame(capacity: 0)]),
    ("garbage", [Frame(copying: [UInt8](repeating: 0xff, count: 100))]),
    ("data before the opening message", [data(1, at: 0)]),
    ("an opening message twice", [open(1), open(1)]),
    ("an opening message of another channel", [open(1), open(2)]),
    ("a gap", [open(1), data(10, at: 1_000)]),
    ("data behind the end", [open(1), ChannelMessage.end(position: 0).frame, data(1, at: 1)]),
    ("an end in the middle", [open(1), ChannelMessage.end(position: 77).frame]),
    ("a credit for what was not said", [open(1), ChannelMessage.credit(consumed: 1, limit: 5).frame]),
    ("more received than was said", [open(1, received: 9)]),
    ("more consumed than was said", [open(1, consumed: 9)]),
    (
      "more than the window",
      [open(1)] + (0...3).map { data(65_519, at: UInt64($0 * 65_583)) } + [data(100, at: 262_332)]
    ),
    ("a position beyond all numbers", [open(1), data(1, at: UInt64.max)]),
  ]

  @Test(arguments: violations.indices)
  func whatBreaksTheProtocolEndsTheConnection(_ index: Int) {
    let victim = Victim()
    let answers = victim.say(HostileChannelTests.violations[index].1)
    #expect(victim.isCutOff, "\(HostileChannelTests.violations[index].0)")
    withExtendedLifetime(answers) {}
  }

  @Test func moreChannelsThanAllowedAreRefusedAndWhatIsThereGoesOn() {
    let victim = Victim()
    let most = Limits.Channel.accepted
    let answers = (1...most + 30).map { number in
      victim.say([HostileChannelTests.open(UInt64(number)), HostileChannelTests.data(10, at: 0)])
    }
    for answer in answers.suffix(30) {
      #expect(eventually { answer.messages.contains { if case .reset(.refused, _) = $0 { true } else { false } } })
    }
    #expect(victim.accepted.channels.count == most)
    #expect(victim.accepted.channels.allSatisfy { $0.failure == nil })
    #expect(victim.session.isOnline)
  }

  @Test func numbersThatAreLeftOutAreNoHarmAndNoneCountsTwice() {
    let victim = Victim()
    var answers: [Counter] = []
    let numbers = (1...800).map { UInt64($0 * 3) }
    for number in numbers {
      answers.append(victim.say([HostileChannelTests.open(number), ChannelMessage.reset(.cancelled, "").frame]))
    }
    #expect(eventually { victim.accepted.channels.count == numbers.count })
    for number in numbers.suffix(3) + numbers.prefix(3) {
      let again = victim.say([HostileChannelTests.open(number)])
      #expect(eventually { again.messages.contains { if case .reset(.lost, _) = $0 { true } else { false } } })
    }
    #expect(victim.accepted.channels.count == numbers.count)
    #expect(victim.session.isOnline)
  }

  @Test func whatFollowsOnAChannelThatWasTurnedAwayIsNoViolation() {
    let victim = Victim()
    let answers = victim.say([
      HostileChannelTests.open(5, known: true), HostileChannelTests.data(10, at: 0),
      ChannelMessage.end(position: 74).frame,
    ])
    #expect(eventually { !answers.messages.isEmpty })
    // Nor is the end of what was given up before it was opened.
    let early = victim.say([ChannelMessage.reset(.cancelled, "").frame])
    let next = victim.say([HostileChannelTests.open(6)])
    #expect(eventually { victim.accepted.channels.count == 1 })
    #expect(victim.session.isOnline)
    withExtendedLifetime((early, next)) {}
  }

  @Test func aChannelThatIsNotKnownOrWasHereBeforeIsReset() {
    let victim = Victim()
    for frames in [
      [HostileChannelTests.open(9, known: true)],
      [HostileChannelTests.open(1), ChannelMessage.reset(.cancelled, "").frame], [HostileChannelTests.open(1)],
    ] {
      let answers = victim.say(frames)
      #expect(
        eventually {
          victim.accepted.channels.last?.failure != nil
            || answers.messages.contains { if case .reset(.lost, _) = $0 { true } else { false } }
        })
    }
    #expect(victim.accepted.channels.count == 1)
    #expect(victim.session.isOnline)
  }

  @Test func aPeerThatGrantsWithoutEndAndTakesNothingFillsNoMemory() throws {
    let victim = Victim()
    let answers = (1...100).map { number in
      victim.say([
        ChannelMessage.open(
          .init(
            number: UInt64(number), isKnown: false, keepsMessages: false, received: 0, consumed: 0,
            limit: UInt64(Int64.max))
        ).frame
      ])
    }
    #expect(eventually { victim.accepted.channels.count == 100 })
    var accepted = 0
    for channel in victim.accepted.channels {
      for _ in 0..<1_000 {
        let piece = SessionChannel.piece(capacity: 30_000)
        piece.count += 30_000
        guard try channel.send(piece) else { break }
        accepted += 30_064
      }
    }
    #expect(UInt64(accepted) <= 100 * Limits.Channel.window + Limits.Channel.windowPool)
    withExtendedLifetime(answers) {}
  }
}
