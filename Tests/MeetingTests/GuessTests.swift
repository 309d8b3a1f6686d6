import Rig
import P2PFSCore
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import Synchronization
import Testing
import P2PFSTransport

@testable import P2PFSMeeting

/// How many guesses at a code there are for those who play a side of the meeting, or the server.
@Suite(.onThreads, .timeLimit(.minutes(5))) struct GuessTests {
  private let client = SignalClient()

  private func startServer() async throws -> (SignalServer, ServerAddress) {
    var configuration = SignalServer.Configuration()
    configuration.host = "127.0.0.1"
    configuration.port = .exactly(0)
    configuration.answersStun = false
    let server = try await SignalServer.start(configuration)
    return (server, ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port))
  }

  /// What hosts reported.
  private final class Heard: Sendable {
    struct State {
      var ready = 0
      var left: [Int] = []
      var isSpent = false
    }
    let state = Mutex(State())
  }

  /// A code for the same room that is wrong.
  private func wrong(_ code: Code) throws -> Code {
    try Code(parsing: code.text.dropLast(5) + (code.text.hasSuffix("-babad") ? "dadab" : "babad"))
  }

  /// Plays the host of `code` with guesses: takes each proof, and then leaves the room and comes back. Returns when nobody
  /// has come for half a second after the first proof. How many proofs it got.
  private func collectProofs(_ code: Code, at server: ServerAddress) async throws -> Int {
    let guess = Credential(try wrong(code))
    let proofs = Counter()
    let token = RoomToken.random()
    for _ in 0..<4 {
      let room = try await client.host(server, room: code.room, token: token)
      let limit = Task {
        try? await Task.sleep(for: .milliseconds(proofs.value == 0 ? 5_000 : 500))
        room.close()
      }
      var handshake = HostHandshake(guess)
      events: for await event in room.events {
        guard case .message(let guest, let bytes) = event else { continue }
        switch try? handshake.receive(bytes) {
        case .reply(let answer): room.send(answer, to: guest)
        case .wrongCode:
          proofs.add()
          break events
        default: break
        }
      }
      limit.cancel()
      room.close()
    }
    return proofs.value
  }

  @Test(arguments: [true, false])
  func `a guest proves its code once, also to a host that comes back`(_ waits: Bool) async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    async let proofs = collectProofs(code, at: address)
    try await Task.sleep(for: .milliseconds(300))
    let meeting = GuestMeeting(server: address, credential: Credential(code), waits: waits)
    do {
      _ = try await JoinedRoom.meet(meeting)
      Issue.record("it met somebody who does not know the code")
    } catch MeetingError.brokenOff(isConfirmed: false) {}
    #expect(try await proofs == 1)
    await server.shutdown()
  }

  @Test func `whichever comes first proves its code once, also to a host that comes back`() async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    async let proofs = collectProofs(code, at: address)
    try await Task.sleep(for: .milliseconds(300))
    do {
      _ = try await Rendezvous(code, as: .either, at: address).meet { _ in }
      Issue.record("it met somebody who does not know the code")
    } catch MeetingError.brokenOff(isConfirmed: false) {}
    #expect(try await proofs == 1)
    await server.shutdown()
  }

  @Test func `a host that comes back before the code was proved to it is met`() async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    let token = RoomToken.random()
    let away = try await client.host(address, room: code.room, token: token)
    let meeting = Task {
      var ice = ICEConfiguration()
      ice.includesLoopback = true
      let meeting = GuestMeeting(server: address, credential: Credential(code), waits: true, ice: ice)
      return try await JoinedRoom.meet(meeting)
    }
    // It has its opening, and answers nothing.
    for await event in away.events { if case .message = event { break } }
    away.close()
    var host = Rendezvous(code, as: .host, at: address)
    host.ice.includesLoopback = true
    for _ in 0..<40 {
      if let met = try? await host.meet(report: { _ in }) {
        await (try await meeting.value).end()
        await met.end()
        await server.shutdown()
        return
      }
      // The room is kept for whoever has left it, for a moment.
      try await Task.sleep(for: .milliseconds(250))
    }
    meeting.cancel()
    Issue.record("never met")
  }

  @Test func `wrong guesses count on when the room is made again`() async throws {
    let (server, address) = try await startServer()
    let code = Code.random()
    let guesses = GuessCounter()
    let heard = Heard()
    let wrong = Credential(try wrong(code))
    for attempts in [6, 4] {
      var configuration = HostedRoom.Configuration()
      configuration.code = code
      configuration.keepsCode = true
      configuration.sharesRoom = true
      configuration.guesses = guesses
      let host = HostedRoom(configuration, server: address) { event in
        heard.state.withLock { heard in
          switch event {
          case .ready: heard.ready += 1
          case .wrongCode(let left): heard.left.append(left)
          case .codeSpent: heard.isSpent = true
          default: break
          }
        }
      }
      let before = heard.state.withLock { $0.ready }
      let running = Task { try? await host.run() }
      #expect(await comesTrue { heard.state.withLock { $0.ready > before } })
      for _ in 0..<attempts {
        await #expect(throws: MeetingError.self) {
          _ = try await GuestMeeting(server: address, credential: wrong).meet()
        }
      }
      #expect(await comesTrue { attempts == 6 || heard.state.withLock { $0.isSpent } })
      running.cancel()
      await running.value
      await host.stop()
    }
    #expect(guesses.isSpent)
    #expect(heard.state.withLock { $0.left }.last == 0)
    await server.shutdown()
  }
}
