import P2PFSCore
import P2PFSMeeting
import P2PFSSession
import P2PFSWire

/// The other end of `p2pfs pipe`.
let pipeActs: [String: Act] = {
  func pipe(_ frames: [Frame]) -> Act {
    .guest { stranger in
      await stranger.hear()
      _ = try await stranger.open("pipe", frames)
      try await stranger.awaitEnd()
    }
  }
  /// Says so, and is gone before the victim finds out.
  func lie(_ frames: [Frame]) -> Act {
    .guest { stranger in
      await stranger.hear()
      _ = try await stranger.open("pipe", frames)
      try await Task.sleep(for: .seconds(1))
      stranger.die()
    }
  }
  let (end, done) = (ChannelMessage.end(position: 0).frame, ChannelMessage.done.frame)
  let story = "\u{1b}[2J\u{1b}]0;owned\u{7}" + String(repeating: "x", count: 380)
  return [
    // Both directions claimed to be complete: what the victim says was never taken.
    "pipe-complete-at-once-death": lie([opening(), end, done]),
    "pipe-done-first-death": lie([opening(), done]),
    "pipe-reset-with-a-story": pipe([
      opening(), data([104, 105], at: 0), ChannelMessage.reset(.failed, story).frame,
    ]),
    // A code of a later version, with bytes that are no text.
    "pipe-reset-unknown": pipe([
      opening(), frame([6, 0, 0, 0, 0, 0, 0, 0] + [77, 0, 0, 0, 0, 0, 0, 0] + [0xff, 0xfe, 0x1b]),
    ]),
    "pipe-closed-without-a-word": .guest { stranger in
      await stranger.hear()
      try await stranger.open("pipe", [opening(), end]).close()
      try await stranger.awaitEnd()
    },
    "pipe-death-behind-the-end": .guest { stranger in
      await stranger.hear()
      let frames = [opening(), data([104, 105], at: 0), ChannelMessage.end(position: 66).frame]
      _ = try await stranger.open("pipe", frames)
      try await Task.sleep(for: .milliseconds(300))
      stranger.die()
    },
    "pipe-of-another-name": .program(.guest) { session, _ in
      let channel = try session.openChannel("pipe\u{1b}[2J")
      try? await channel.opened()
      HostilePeer.say("\(channel.failure.map { "\($0)" } ?? "opened")")
    },
    "pipe-of-messages": .program(.guest) { session, _ in
      let channel = try session.openChannel("pipe", keepsMessages: true)
      try? await channel.opened()
      HostilePeer.say("\(channel.failure.map { "\($0)" } ?? "opened")")
    },
  ]
}()

/// Either side of `p2pfs forward`.
let forwardActs: [String: Act] = {
  /// Opens channels that must all be refused.
  @Sendable func ask(_ session: Session, _ names: [String]) async throws {
    for name in names {
      let channel = try session.openChannel(name)
      let piece = SessionChannel.piece(capacity: 4)
      [UInt8]("GET ".utf8).withUnsafeBytes { piece.write($0) }
      _ = try? channel.send(piece)
      try? await channel.opened()
      if channel.failure == nil { try? await AsyncChannel(channel).channel.over() }
      guard case .reset(.refused, let why)? = channel.failure else {
        throw Surprise("\(name): \(channel.failure.map { "\($0)" } ?? "opened")")
      }
      HostilePeer.say("refused: \(name): \(why)")
    }
  }
  return [
    // Against `p2pfs export --allow-forward localhost:1 --allow-listen localhost:1`.
    "forward-not-allowed": .program(.guest) { session, _ in
      try await ask(
        session,
        [
          "", "forward:", "forward:connect:", "forward:connect:localhost:22", "forward:connect:127.0.0.1:1",
          "forward:connect:[::1]:1", "forward:connect:localhost.:1", "forward:connect:LOCALHOST:1",
          "forward:connect:2130706433:1", "forward:connect:0x7f.1:1", "forward:connect:localhost:1\u{0}",
          "forward:connect:localhost:01", "forward:connect:localhost:65537", "forward:connect:/var/run/docker.sock",
          "forward:connect:/../canary", "forward:check:localhost:22", "forward:listen:0:localhost:0",
          "forward:listen:0:*:1", "forward:listen:0:/tmp/p2pfs-hostile", "forward:listen:256:localhost:1",
          "forward:accepted:0", "forward:\u{1b}[2J:x", "pipe", "transfer",
        ])
    },
    // A host, against `p2pfs forward CODE -R 0:localhost:…`: it opens what was never asked for.
    "forward-host-that-asks": .program(.host) { session, opened in
      for await channel in opened {
        HostilePeer.say("asked: \(channel.name)")
        channel.accept()
        let port = SessionChannel.piece(capacity: 2)
        port.write(UInt16(9))
        _ = try? channel.send(port)
        break
      }
      try await ask(
        session,
        [
          "forward:accepted:1", "forward:accepted:255", "forward:accepted:-1", "forward:accepted:٣",
          "forward:connect:localhost:22", "forward:listen:0:localhost:0", "forward:check:localhost:22", "pipe",
          "transfer", "",
        ])
    },
    // The same, which answers with nonsense.
    "forward-host-that-babbles": .program(.host) { session, opened in
      let babble = Task {
        for await channel in opened {
          channel.accept()
          let piece = SessionChannel.piece(capacity: 30_000)
          [UInt8](repeating: 0x1b, count: 30_000).withUnsafeBytes { piece.write($0) }
          _ = try? channel.send(piece)
          channel.reset(.failed, "\u{1b}[2J\u{1b}]0;owned\u{7}")
        }
      }
      for await state in session.states() where state == .over || state == .expired { break }
      babble.cancel()
    },
  ]
}()
