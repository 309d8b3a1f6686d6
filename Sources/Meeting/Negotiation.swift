import P2PFSSession
import P2PFSCore
package import P2PFSPairing
import P2PFSSignaling
import P2PFSTransport

/// What a meeting results in.
package struct MeetingResult: Sendable {
  /// The connection, with both channels open.
  package let link: DataChannelLink
  /// The session's name: 16 bytes that both derive from the first handshake.
  package let identity: [UInt8]
  /// What the two can meet again with.
  package let resumption: ResumptionSecret

  init(link: DataChannelLink, resumption: ResumptionSecret) {
    self.link = link
    self.resumption = resumption
    identity = MeetingResult.identity(of: resumption)
  }

  /// The name of the session that a resumption secret belongs to: its room, which both know and others may.
  package static func identity(of resumption: ResumptionSecret) -> [UInt8] {
    let digits = Array(resumption.room.utf8)
    return stride(from: 0, to: digits.count - 1, by: 2).map { index in
      UInt8(String(decoding: digits[index...(index + 1)], as: UTF8.self), radix: 16) ?? 0
    }
  }
}

extension PeerConnection {
  /// Takes the peer's description, one of its candidates, or the end of them.
  func apply(_ message: MeetingMessage) async throws(MeetingError) {
    switch message {
    case .description(let text):
      do { try setRemote(try SessionDescription(parsing: text)) } catch let error as TransportError {
        throw .transport(error)
      } catch {
        throw .tampered("\(error)")
      }
    case .candidate(let text):
      // One that we do not understand is no reason to fail: it may be of a newer kind.
      if let candidate = try? Candidate.parse(text) { add(candidate) }
    case .endOfCandidates: endOfCandidates()
    case .refusal: break
    }
  }
}

/// What a negotiating task waits for, from several sources, in the order of arrival.
enum NegotiationEvent: Sendable {
  case message([UInt8])
  /// The exporter has come into the room, or come back to it: whatever was said before is void.
  case hostArrived
  /// The exporter has left, and is waited for.
  case hostLeft
  case candidate(Candidate)
  case endOfCandidates
  /// The connection is up, or will not be.
  case connected(Result<Void, TransportError>)
  /// The other side has left the room, or the signaling server is gone.
  case left
}

extension AsyncStream<NegotiationEvent>.Continuation {
  /// Feeds in what the connection reports until the returned task is cancelled or all was said.
  func follow(_ connection: PeerConnection) -> Task<Void, Never> {
    Task {
      for await candidate in connection.localCandidates { yield(.candidate(candidate)) }
      yield(.endOfCandidates)
    }
  }

  /// Gives up after some seconds, unless cancelled.
  func limit(seconds: Double) -> Task<Void, Never> {
    Task {
      try? await Task.sleep(for: .seconds(seconds))
      guard !Task.isCancelled else { return }
      yield(.left)
      // Also when there is no room left for one more event.
      finish()
    }
  }

  /// Feeds in how the connection comes out.
  func await(_ connection: PeerConnection) -> Task<Void, Never> {
    Task {
      do throws(TransportError) {
        try await connection.connected()
        yield(.connected(.success(())))
      } catch {
        yield(.connected(.failure(error)))
      }
    }
  }
}

extension ICEConfiguration {
  /// With the servers that the signaling server told of; those that make no sense are passed over.
  func adding(_ servers: [IceServer]) -> ICEConfiguration {
    var result = self
    for server in servers {
      guard result.servers.count < Limits.Session.iceServers,
        let parsed = ICEServer(uri: server.uri, username: server.username, credential: server.credential)
      else { continue }
      result.servers.append(parsed)
    }
    return result
  }
}
