import P2PFSSession
import P2PFSCore
package import Logging
package import P2PFSPairing
package import P2PFSSignaling
import Synchronization
package import P2PFSTransport

/// Who decides about guests that know the code, or do not.
package protocol AdmissionPolicy: AnyObject, Sendable {
  /// Runs `verify`, which looks at one guess, unless the code is spent; counts it if it was wrong. Calls for one code
  /// never overlap, so that no number of guests at once gets more guesses than one after the other.
  /// - Returns: nil if the guess was right, otherwise how many guesses are left.
  func judge(_ verify: () -> Bool) -> Int?
  /// Whether there is room for a guest; the reason if not.
  func refusal() async -> String?
  /// A guest has proven that it knows the code, and is connected.
  func admit(_ met: MeetingResult) async
}

/// The exporter's side of a room: takes each guest through the handshake to a connection.
package struct RoomHost: Sendable {
  private let room: HostConnection
  private let credential: Credential
  private let ice: ICEConfiguration
  private let doorkeeper: any AdmissionPolicy
  private let log: Logger

  /// Serves the guests that come to `room`, which this program hosts.
  package init(
    _ room: HostConnection, credential: Credential, ice: ICEConfiguration, doorkeeper: any AdmissionPolicy,
    log: Logger = Logger(label: "p2pfs.meeting")
  ) {
    self.room = room
    self.credential = credential
    self.ice = ice
    self.doorkeeper = doorkeeper
    self.log = log
  }

  /// The guests that are being taken in, and where their messages go.
  private final class Conversations: Sendable {
    struct Conversation {
      let feed: AsyncStream<NegotiationEvent>.Continuation
      /// Bytes and messages that the guest may still say.
      var bytes = Limits.Session.meetingBytes
      var messages = Limits.Session.meetingEvents

      /// - Returns: false if it says too much.
      mutating func hear(_ payload: [UInt8]) -> Bool {
        bytes -= payload.count
        messages -= 1
        guard bytes >= 0, messages >= 0 else { return false }
        feed.yield(.message(payload))
        return true
      }
    }
    let feeds = Mutex<[GuestID: Conversation]>([:])
  }

  /// Serves until the room is closed or the task cancelled. Guests that are being connected then still finish.
  package func serve() async {
    let conversations = Conversations()
    await withTaskCancellationHandler {
      for await event in room.events {
        switch event {
        case .joined(let guest):
          let (events, feed) = AsyncStream.makeStream(
            of: NegotiationEvent.self, bufferingPolicy: .bufferingOldest(Limits.Session.meetingEvents))
          let isTaken = conversations.feeds.withLock { feeds in
            guard feeds.count < Limits.Session.meetings, feeds[guest] == nil else { return false }
            feeds[guest] = Conversations.Conversation(feed: feed)
            return true
          }
          guard isTaken else {
            room.dismiss(guest)
            continue
          }
          Task {
            await meet(guest, events, feed)
            // The server does not tell of the leaving of a guest that we have dismissed.
            conversations.feeds.withLock { $0[guest] = nil }
            room.dismiss(guest)
          }
        case .message(let guest, let payload):
          let isFlood = conversations.feeds.withLock { !($0[guest]?.hear(payload) ?? true) }
          guard isFlood else { continue }
          // What it has said before may have been enough; the server need not carry more of it.
          conversations.feeds.withLock { $0[guest] }?.feed.yield(.left)
          room.dismiss(guest)
        case .left(let guest): conversations.feeds.withLock { $0[guest] }?.feed.yield(.left)
        }
      }
    } onCancel: {
      room.close()
    }
    for conversation in conversations.feeds.withLock({ Array($0.values) }) { conversation.feed.yield(.left) }
  }

  private func meet(
    _ guest: GuestID, _ events: AsyncStream<NegotiationEvent>, _ feed: AsyncStream<NegotiationEvent>.Continuation
  ) async {
    do {
      await doorkeeper.admit(try await met(guest, events, feed))
    } catch {
      log.debug("a guest was not connected: \(error)")
    }
  }

  private func met(
    _ guest: GuestID, _ events: AsyncStream<NegotiationEvent>, _ feed: AsyncStream<NegotiationEvent>.Continuation
  ) async throws(MeetingError) -> MeetingResult {
    var handshake = HostHandshake(credential)
    var negotiation: Negotiation?
    var resumption: ResumptionSecret?
    var tasks = [feed.limit(seconds: Limits.Session.handshake)]
    // Silence must not take the place of who speaks.
    var silence: Task<Void, Never>? = feed.limit(seconds: Limits.Session.firstWord)
    var isConnecting = false
    defer { for task in tasks + [silence].compactMap(\.self) { task.cancel() } }
    for await event in events {
      if case .message = event {
        silence?.cancel()
        silence = nil
      }
      switch event {
      case .message(let payload) where negotiation == nil:
        switch try step(&handshake, payload, of: guest) {
        case .reply(let answer): room.send(answer, to: guest)
        case .wrongCode: throw .wrongCode(attemptsLeft: nil)
        case .established(var paired, let confirmation, let offer):
          room.send(confirmation, to: guest)
          if let why = await doorkeeper.refusal() {
            if let sealed = try? paired.sender.seal(MeetingMessage.refusal(why).encoded) {
              room.send(sealed, to: guest)
            }
            throw .refused(why)
          }
          guard case .description(let text) = MeetingMessage(parsing: offer) else { throw .tampered("no offer") }
          resumption = paired.resumption
          let connection = PeerConnection(role: .answerer, configuration: ice.adding(room.iceServers))
          var begun = Negotiation(connection, paired) { [room] in room.send($0, to: guest) }
          try await begun.answer(text)
          negotiation = begun
          isConnecting = true
          tasks.forEach { $0.cancel() }
          tasks = [
            feed.follow(connection), feed.await(connection),
            feed.limit(seconds: Limits.Transport.connecting + Limits.Session.handshake),
          ]
        }
      case .message(let payload): _ = try await negotiation?.hear(payload)
      case .candidate(let candidate): try negotiation?.say(.candidate(candidate.description))
      case .endOfCandidates: try negotiation?.say(.endOfCandidates)
      case .connected(.failure(let error)): throw .transport(error)
      case .connected(.success):
        guard let connection = negotiation?.connection, let resumption else { throw .abandoned }
        let late = Task {
          try? await Task.sleep(for: .seconds(Limits.Session.handshake))
          if !Task.isCancelled { await connection.close() }
        }
        defer { late.cancel() }
        guard let link = await DataChannelLink.accept(on: connection) else { throw .abandoned }
        return MeetingResult(link: link, resumption: resumption)
      case .left: if !isConnecting { throw .abandoned }
      case .hostArrived, .hostLeft: break
      }
    }
    throw .abandoned
  }

  /// One step of the handshake. A guess is judged where all guesses at this code are.
  private func step(
    _ handshake: inout HostHandshake, _ payload: [UInt8], of guest: GuestID
  ) throws(MeetingError) -> HostHandshake.Step {
    var result = Result<HostHandshake.Step, HandshakeError>.failure(.outOfOrder)
    let left = doorkeeper.judge {
      result = Result { () throws(HandshakeError) in try handshake.receive(payload) }
      if case .success(.wrongCode) = result { return false }
      return true
    }
    if let left {
      room.send(HostHandshake.refusal(attemptsLeft: left), to: guest)
      throw .wrongCode(attemptsLeft: left)
    }
    do { return try result.get() } catch { throw MeetingError(error) }
  }
}
