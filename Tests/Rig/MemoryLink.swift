package import P2PFSCore
import Glibc
package import P2PFSSession
import Synchronization

/// Two links in memory, each the other's peer: what one sends the other receives, on one thread of their own.
///
/// They can be cut in the middle, and can be made to hold back everything, as a dead network does.
package final class MemoryLink: Link {
  private struct State {
    var receiver: (any LinkReceiver)?
    var isClosed = false
    var early: [(Frame, Lane)] = []
    var channels: [MemoryChannel] = []
  }

  private let state = Mutex(State())
  private let thread: MemoryLinkThread
  private let queued = Atomic<Int>(0)
  private let silent = Atomic<Bool>(false)
  private let heard = Atomic<UInt64>(0)
  // Written once, before the pair is handed out.
  private nonisolated(unsafe) weak var peer: MemoryLink?

  private init(_ thread: MemoryLinkThread) { self.thread = thread }

  /// Two connected links. Keep both alive: they know each other weakly.
  package static func pair() -> (MemoryLink, MemoryLink) {
    let thread = MemoryLinkThread()
    let (one, other) = (MemoryLink(thread), MemoryLink(thread))
    (one.peer, other.peer) = (other, one)
    return (one, other)
  }

  package func send(_ frame: Frame, on lane: Lane) {
    guard !state.withLock({ $0.isClosed }), let peer else { return }
    queued.add(frame.count, ordering: .relaxed)
    thread.run { [self] in
      queued.subtract(frame.count, ordering: .relaxed)
      if !silent.load(ordering: .relaxed) { peer.deliver(frame, lane) }
      state.withLock { $0.receiver }?.drained()
    }
  }

  package func openChannel(_ label: String, opened: @escaping @Sendable ((any LinkChannel)?) -> Void) {
    openChannel(label, tries: 100, opened: opened)
  }

  private func openChannel(
    _ label: String, tries: Int, opened: @escaping @Sendable ((any LinkChannel)?) -> Void
  ) {
    thread.run { [self] in
      guard let peer, !state.withLock({ $0.isClosed }) else { return opened(nil) }
      guard let receiver = peer.state.withLock({ $0.receiver }) else {
        guard tries > 0 else { return opened(nil) }
        // The other side has not attached yet, or is closing, which is heard here soon.
        usleep(1_000)
        return openChannel(label, tries: tries - 1, opened: opened)
      }
      let (ours, theirs) = MemoryChannel.pair(label, of: self, and: peer)
      state.withLock { $0.channels.append(ours) }
      peer.state.withLock { $0.channels.append(theirs) }
      receiver.opened(theirs)
      opened(ours)
    }
  }

  fileprivate func run(_ work: @escaping @Sendable () -> Void) { thread.run(work) }
  fileprivate var isSilent: Bool { silent.load(ordering: .relaxed) }

  package var lastHeard: Instant { Instant(nanoseconds: heard.load(ordering: .relaxed)) }
  package var isFailing: Bool { false }
  package var backlog: Int { queued.load(ordering: .relaxed) }

  package func attach(_ receiver: any LinkReceiver) {
    thread.run { [self] in
      let early = state.withLock { state in
        state.receiver = receiver
        defer { state.early = [] }
        return state.early
      }
      for (frame, lane) in early { receiver.received(frame, on: lane) }
    }
  }

  package func close() {
    let wasOpen = state.withLock { state in
      defer {
        state.isClosed = true
        state.receiver = nil
      }
      return !state.isClosed
    }
    guard wasOpen, let peer else { return }
    thread.run { peer.fail() }
  }

  package func closed() async { close() }

  /// Cuts the connection: both sides are told.
  package func cut() {
    let peer = peer
    thread.run { [self] in
      fail()
      peer?.fail()
    }
  }

  /// From now on what this side sends vanishes, and nobody is told.
  package func fallSilent() { silent.store(true, ordering: .relaxed) }

  private func fail() {
    let (receiver, channels) = state.withLock { state in
      defer {
        state.isClosed = true
        state.receiver = nil
        state.channels = []
      }
      return (state.isClosed ? nil : state.receiver, state.channels)
    }
    for channel in channels { channel.end(byPeer: false) }
    receiver?.lost()
  }

  private func deliver(_ frame: Frame, _ lane: Lane) {
    let receiver = state.withLock { state -> (any LinkReceiver)? in
      guard !state.isClosed else { return nil }
      if state.receiver == nil { state.early.append((frame, lane)) }
      return state.receiver
    }
    heard.store(Instant.now.nanoseconds, ordering: .relaxed)
    receiver?.received(frame, on: lane)
  }
}

/// One end of a channel beside the lanes of two links in memory.
package final class MemoryChannel: LinkChannel {
  private struct State {
    var onMessage: (@Sendable (Frame) -> Void)?
    var onClose: (@Sendable (Bool) -> Void)?
    var early: [Frame] = []
    var isClosed = false
  }

  package let label: String
  /// Memory is never full.
  package var queuedBytes: Int { 0 }
  private let state = Mutex(State())
  private let link: MemoryLink
  // Written once, before the pair is handed out.
  private nonisolated(unsafe) weak var peer: MemoryChannel?

  private init(_ label: String, _ link: MemoryLink) {
    self.label = label
    self.link = link
  }

  fileprivate static func pair(_ label: String, of one: MemoryLink, and other: MemoryLink) -> (
    MemoryChannel, MemoryChannel
  ) {
    let (ours, theirs) = (MemoryChannel(label, one), MemoryChannel(label, other))
    (ours.peer, theirs.peer) = (theirs, ours)
    return (ours, theirs)
  }

  package func send(_ frame: Frame) {
    guard !state.withLock({ $0.isClosed }), let peer else { return }
    link.run { [link] in if !link.isSilent { peer.deliver(frame) } }
  }

  package func abort(_ last: Frame) {
    send(last)
    close()
  }

  package func close() {
    link.run { [self] in
      let peer = peer
      end(byPeer: false)
      peer?.end(byPeer: true)
    }
  }

  package func attach(
    onMessage: @escaping @Sendable (Frame) -> Void, onClose: @escaping @Sendable (_ byPeer: Bool) -> Void
  ) {
    link.run { [self] in
      let early = state.withLock { state in
        (state.onMessage, state.onClose) = (onMessage, onClose)
        defer { state.early = [] }
        return state.early
      }
      for frame in early { onMessage(frame) }
    }
  }

  private func deliver(_ frame: Frame) {
    let onMessage = state.withLock { state -> (@Sendable (Frame) -> Void)? in
      guard !state.isClosed else { return nil }
      if state.onMessage == nil { state.early.append(frame) }
      return state.onMessage
    }
    onMessage?(frame)
  }

  fileprivate func end(byPeer: Bool) {
    let onClose = state.withLock { state in
      defer {
        state.isClosed = true
        (state.onMessage, state.onClose) = (nil, nil)
      }
      return state.onClose
    }
    onClose?(byPeer)
  }
}

/// A thread that runs what it is given, in order.
private final class MemoryLinkThread: Sendable {
  private struct Queue {
    var work: [@Sendable () -> Void] = []
    var isOver = false
  }

  private let queue = Monitor(Queue())

  init() {
    Worker.detached("memory-link") { [queue] in
      while let work = queue.wait({ queue -> [@Sendable () -> Void]?? in
        if queue.work.isEmpty { return queue.isOver ? .some(nil) : nil }
        defer { queue.work = [] }
        return queue.work
      }) {
        for item in work { item() }
      }
    }
  }

  deinit { queue.change { $0.isOver = true } }

  func run(_ work: @escaping @Sendable () -> Void) { queue.change { $0.work.append(work) } }
}
