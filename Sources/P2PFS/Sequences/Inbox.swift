import P2PFSCore
import P2PFSSession
import Synchronization
import P2PFSWire

/// The channels that the other computer has opened and that nobody has taken yet. Each is taken within
/// `Limits.Library.taking` seconds, or refused. From any thread.
final class Inbox: Sendable {
  /// Takes a channel.
  typealias Taker = @Sendable (SessionChannel) -> Void

  private let queue = Queue<SessionChannel>(limit: Limits.Channel.open)
  /// Those who get the channels of a name. Held while the queue is filled, so that nothing waits there beside its taker.
  private let takers = Mutex<[String: Taker]>([:])

  /// A channel has been opened. On the link's thread.
  func offer(_ channel: SessionChannel) {
    let (taker, place) = takers.withLock { takers -> (Taker?, Queue<SessionChannel>.Place) in
      if let taker = takers[channel.name] { return (taker, .handed) }
      // More than the peer may have open: most of these are over already.
      guard queue.count < Limits.Channel.open else { return (nil, .over) }
      return (nil, queue.put(channel))
    }
    if let taker { return taker(channel) }
    switch place {
    case .handed: break
    case .over: channel.reset(.refused, "it takes no more channels")
    case .waiting:
      Task { [weak self, name = channel.name] in
        try? await Task.sleep(for: .seconds(Limits.Library.taking))
        self?.refuse("it has no handler for channel \"\(name)\"") { $0 === channel }
      }
    }
  }

  /// Has a taker get the channels of a name from now on, those that wait included.
  func register(_ name: String, _ taker: @escaping Taker) {
    let waiting = takers.withLock { takers -> [SessionChannel] in
      guard !queue.isOver else { return [] }
      takers[name] = taker
      return queue.remove { $0.name == name }
    }
    for channel in waiting { taker(channel) }
  }

  /// The next channel that no taker gets; nil when there will be none, or the task was cancelled.
  func next() async -> SessionChannel? { await queue.next() }

  /// There will be no more.
  func finish() {
    // Released outside of the lock: they hold what the program gave them.
    let gone = takers.withLock { takers in
      queue.finish()
      defer { takers = [:] }
      return takers
    }
    withExtendedLifetime(gone) {}
    refuse("it is leaving") { _ in true }
  }

  private func refuse(_ why: String, _ isMeant: (SessionChannel) -> Bool) {
    for channel in queue.remove(where: isMeant) { channel.reset(.refused, why) }
  }
}
