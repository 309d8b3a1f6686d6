package import Core
import Glibc
import Wire

/// A channel for threads of their own: what is sent and what comes in are waited for by blocking. Never to be used on
/// a thread of Swift concurrency, or of another layer.
///
/// One thread may send and one receive at a time; they may be different ones. `Channel.reset` from elsewhere ends
/// every wait.
package final class BlockingChannel: @unchecked Sendable {
  package let channel: Channel
  // Both flags are under `lock`.
  private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let change = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var isReadable = false
  private var isWritable = false

  /// Becomes the one user of `channel`.
  package init(_ channel: Channel) {
    self.channel = channel
    pthread_mutex_init(lock, nil)
    pthread_cond_init(change, nil)
    channel.attach(
      onReadable: { [weak self] in self?.wake(\.isReadable) }, onWritable: { [weak self] in self?.wake(\.isWritable) })
  }

  deinit {
    pthread_cond_destroy(change)
    pthread_mutex_destroy(lock)
    change.deallocate()
    lock.deallocate()
  }

  /// The next piece or message, to be given to `channel.consumed` when it was dealt with; nil at the end, to be
  /// followed by `channel.consumedEnd`.
  package func next() throws(ChannelError) -> FrameSlice? {
    while true {
      switch try channel.receive() {
      case .piece(let piece): return piece
      case .end: return nil
      case .nothing: wait(\.isReadable)
      }
    }
  }

  /// What has come in already; nil if that is nothing, the end included.
  package func nextIfThere() throws(ChannelError) -> FrameSlice? {
    if case .piece(let piece) = try channel.receive() { piece } else { nil }
  }

  /// Sends a piece that was made by `Channel.piece`; waits for room.
  package func send(_ piece: Frame) throws(ChannelError) {
    while try !channel.send(piece) { wait(\.isWritable) }
  }

  private func wake(_ flag: ReferenceWritableKeyPath<BlockingChannel, Bool>) {
    pthread_mutex_lock(lock)
    self[keyPath: flag] = true
    pthread_cond_broadcast(change)
    pthread_mutex_unlock(lock)
  }

  private func wait(_ flag: ReferenceWritableKeyPath<BlockingChannel, Bool>) {
    pthread_mutex_lock(lock)
    while !self[keyPath: flag] { pthread_cond_wait(change, lock) }
    self[keyPath: flag] = false
    pthread_mutex_unlock(lock)
  }
}
