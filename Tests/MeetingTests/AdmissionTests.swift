import Rig
import P2PFSCore
import Glibc
import P2PFSPairing
import P2PFSSession
import P2PFSSignaling
import Synchronization
import SystemPackage
import Testing
import P2PFSTransport

@testable import P2PFSMeeting

/// An export met through a real signaling server, by guests made by hand.
@Suite(.timeLimit(.minutes(1))) struct DoorTests {
  /// What an export reported.
  private final class Heard: Sendable {
    struct State {
      var codes: [Code] = []
      var left: [Int] = []
    }
    let state = Mutex(State())

    func note(_ event: HostedRoom.Event) {
      state.withLock { state in
        switch event {
        case .ready(let code, _): state.codes.append(code)
        case .wrongCode(let left): state.left.append(left)
        default: break
        }
      }
    }
  }

  private final class Nothing: Responder {
    let isReadOnly = true
    func serve(_ request: Frame, _ exchange: Exchange) { exchange.fail(.noFunction) }
    func end() {}
  }

  private let client = SignalClient()

  private func startServer() async throws -> (SignalServer, ServerAddress) {
    var configuration = SignalServer.Configuration()
    configuration.host = "127.0.0.1"
    configuration.port = .exactly(0)
    configuration.answersStun = false
    let server = try await SignalServer.start(configuration)
    return (server, ServerAddress(scheme: .ws, host: "127.0.0.1", port: server.port))
  }

  /// An export that runs, and what it says. Nothing of it is remembered.
  private func startExport(_ server: ServerAddress) async throws -> (Task<Void, Never>, Heard, Code) {
    var configuration = HostedRoom.Configuration { _ in Nothing() }
    let code = Code.random()
    configuration.code = code
    configuration.isOnce = true
    let heard = Heard()
    let host = HostedRoom(configuration, server: server) { heard.note($0) }
    let running = Task {
      try? await host.run()
      await host.stop()
    }
    #expect(await comesTrue { heard.state.withLock { $0.codes.count == 1 } })
    return (running, heard, code)
  }

  /// One guess, by hand: how many are left, or nil if it was right or nobody answered.
  private func guess(_ credential: Credential, at server: ServerAddress) async throws -> Int? {
    let guest = try await client.join(server, room: credential.room)
    defer { guest.close() }
    var handshake = GuestHandshake(credential)
    guest.send(handshake.opening)
    for await event in guest.events {
      // The exporter gives the room of a spent code up.
      guard case .message(let bytes) = event else { return nil }
      do {
        guard case .reply(let answer) = try handshake.receive(bytes) else { return nil }
        guest.send(answer)
      } catch {
        if case .wrongCode(let left) = error { return left }
        throw error
      }
    }
    return nil
  }

  @Test func guestsThatFailMakeRoomForOthers() async throws {
    let (server, address) = try await startServer()
    let (running, _, code) = try await startExport(address)
    let credential = Credential(code)
    for _ in 0..<Limits.Session.meetings + 4 {
      let guest = try await client.join(address, room: code.room)
      guest.send([0])
      // The exporter hangs up on it.
      for await _ in guest.events {}
    }
    let guest = try await client.join(address, room: code.room)
    guest.send(GuestHandshake(credential).opening)
    var isAnswered = false
    for await event in guest.events {
      if case .message = event {
        isAnswered = true
        break
      }
    }
    #expect(isAnswered)
    guest.close()
    running.cancel()
    await running.value
    await server.shutdown()
  }

  @Test func afterTenWrongGuessesAtOnceTheCodeIsReplaced() async throws {
    let (server, address) = try await startServer()
    let (running, heard, code) = try await startExport(address)
    var wrong = Code.random()
    while wrong.room != code.room {
      wrong = try Code(parsing: code.room + wrong.text.dropFirst(code.room.count))
    }
    let credential = Credential(wrong)
    let answers = await withTaskGroup(of: Int?.self) { group in
      for _ in 0..<Limits.Pairing.attempts + 6 {
        group.addTask { (try? await guess(credential, at: address)) ?? nil }
      }
      return await group.reduce(into: [Int]()) { if let left = $1 { $0.append(left) } }
    }
    // Each guess was counted, and none beyond the tenth was looked at.
    #expect(Set(answers).isSubset(of: Set(0..<Limits.Pairing.attempts)))
    #expect(await comesTrue { heard.state.withLock { $0.codes.count == 2 } })
    let (codes, left) = heard.state.withLock { ($0.codes, $0.left) }
    #expect(codes.first == code && codes.last != code)
    #expect(left.last == 0 && left == left.sorted(by: >))
    running.cancel()
    await running.value
    await server.shutdown()
  }
}
