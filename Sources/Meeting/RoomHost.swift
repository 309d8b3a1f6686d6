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
    var state = HostMeetingState(credential)
    var connection: PeerConnection?
    var tasks: [Task<Void, Never>] = []
    var limit: Task<Void, Never>?
    // Silence must not take the place of a guest that speaks.
    var silence: Task<Void, Never>? = feed.limit(seconds: Limits.Session.firstWord)
    defer { for task in tasks + [limit, silence].compactMap(\.self) { task.cancel() } }
    var iterator = events.makeAsyncIterator()
    var actions = state.begin()[...]
    while true {
      while let action = actions.popFirst() {
        switch action {
        case .send(let payload): room.send(payload, to: guest)
        case .limit(let seconds):
          limit?.cancel()
          limit = feed.limit(seconds: seconds)
        case .unlimited: limit?.cancel()
        case .admit(let offer):
          if let reason = await doorkeeper.refusal() {
            actions += state.refuse(reason)
            continue
          }
          let made = PeerConnection(role: .answerer, configuration: ice.adding(room.iceServers))
          connection = made
          try await made.apply(.description(offer))
          do { actions += state.answer(try await made.localDescription().text) } catch { throw .transport(error) }
          tasks.append(feed.follow(made))
        case .apply(let message): try await connection?.apply(message)
        case .awaitConnection: if let connection { tasks.append(feed.await(connection)) }
        case .finish(let resumption):
          guard let connection else { throw .abandoned }
          return MeetingResult(link: try await accept(on: connection), resumption: resumption)
        case .fail(let error): throw error
        case .reportConnecting: break
        }
      }
      guard let event = await iterator.next() else { throw .abandoned }
      switch event {
      case .message(let payload):
        silence?.cancel()
        silence = nil
        actions = state.received(payload) { doorkeeper.judge($0) }[...]
      case .candidate(let candidate): actions = state.found(.candidate(candidate.description))[...]
      case .endOfCandidates: actions = state.found(.endOfCandidates)[...]
      case .connected(let result): actions = state.connected(result)[...]
      case .left: actions = state.left()[...]
      case .hostArrived, .hostLeft: break
      }
    }
  }

  /// Waits for the guest's channels on a connection that is up.
  private func accept(on connection: PeerConnection) async throws(MeetingError) -> DataChannelLink {
    let late = Task {
      try? await Task.sleep(for: .seconds(Limits.Session.handshake))
      if !Task.isCancelled { await connection.close() }
    }
    defer { late.cancel() }
    guard let link = await DataChannelLink.accept(on: connection) else { throw .abandoned }
    return link
  }
}
