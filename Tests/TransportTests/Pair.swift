import P2PFSCore
import Synchronization
import Testing

@testable import P2PFSTransport

/// Two connected peers in this process.
struct Pair {
  let offerer: PeerConnection
  let answerer: PeerConnection

  /// Connects two peers over loopback and whatever addresses the machine has.
  static func connected(_ configuration: ICEConfiguration = ICEConfiguration(includesLoopback: true)) async throws
    -> Pair
  {
    let pair = Pair(
      offerer: PeerConnection(role: .offerer, configuration: configuration),
      answerer: PeerConnection(role: .answerer, configuration: configuration))
    try await pair.exchange()
    try await pair.offerer.connected()
    try await pair.answerer.connected()
    return pair
  }

  /// Gives each the other's description as text, and its later candidates.
  func exchange(
    changingOffer: (inout SessionDescription) -> Void = { _ in },
    changingAnswer: (inout SessionDescription) -> Void = { _ in }
  ) async throws {
    var offer = try await offerer.localDescription()
    changingOffer(&offer)
    try await answerer.setRemote(SessionDescription(parsing: offer.text))
    var answer = try await answerer.localDescription()
    changingAnswer(&answer)
    try await offerer.setRemote(SessionDescription(parsing: answer.text))
    for (from, to) in [(offerer, answerer), (answerer, offerer)] {
      Task {
        for await candidate in from.localCandidates { await to.add(candidate) }
        await to.endOfCandidates()
      }
    }
  }

  /// A channel that the offerer opens, as both see it.
  func channel() async throws -> (DataChannel, DataChannel) {
    let channel = try await offerer.openChannel(label: "test")
    for await other in answerer.incomingChannels where other.stream == channel.stream { return (channel, other) }
    throw TransportError.closed
  }

  func close() async {
    await offerer.close()
    await answerer.close()
  }
}

/// What a channel receives, for tests that wait for it.
final class Inbox: Sendable {
  enum Event: Sendable, Equatable {
    case message([UInt8], DataChannel.Kind)
    case closed(TransportError)
  }

  private let stream: AsyncStream<Event>

  init(_ channel: DataChannel) {
    let (stream, continuation) = AsyncStream.makeStream(of: Event.self)
    self.stream = stream
    channel.attach(
      onMessage: { frame, kind in continuation.yield(.message(Array(frame.bytes), kind)) },
      onClose: { error in
        continuation.yield(.closed(error))
        continuation.finish()
      })
  }

  /// The next event; nil after the last one.
  func next() async -> Event? {
    for await event in stream { return event }
    return nil
  }
}
