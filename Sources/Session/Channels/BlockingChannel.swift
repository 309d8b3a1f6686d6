package import P2PFSCore
import P2PFSWire

/// A channel for dedicated threads: sending and receiving block. Never to be used on a thread of Swift concurrency, or
/// of another layer.
///
/// Any threads may send; each piece goes whole. One thread may receive at a time. `SessionChannel.reset` from elsewhere
/// ends every wait.
package final class BlockingChannel: Sendable {
  package let channel: SessionChannel
  /// Whether it has become so since the last wait for it.
  private let isReadable = Monitor(false)
  /// How often it has become writable. A count, not a flag: several threads may wait for it, and the first that wakes
  /// must not take it from the others.
  private let writable = Monitor<UInt64>(0)

  /// Becomes the one user of `channel`.
  package init(_ channel: SessionChannel) {
    self.channel = channel
    channel.attach(
      onReadable: { [isReadable] in isReadable.change { $0 = true } },
      onWritable: { [writable] in writable.change { $0 &+= 1 } })
  }

  /// The next piece or message, to be given to `channel.consumed` when it was dealt with; nil at the end, to be
  /// followed by `channel.consumedEnd`.
  package func next() throws(SessionChannelError) -> FrameSlice? {
    while true {
      switch try channel.receive() {
      case .piece(let piece): return piece
      case .end: return nil
      case .nothing:
        isReadable.wait { flag -> Void? in
          defer { flag = false }
          return flag ? () : nil
        }
      }
    }
  }

  /// What has come in already; nil if that is nothing, the end included.
  package func nextIfThere() throws(SessionChannelError) -> FrameSlice? {
    if case .piece(let piece) = try channel.receive() { piece } else { nil }
  }

  /// Sends a piece that was made by `SessionChannel.piece`; waits for room.
  package func send(_ piece: Frame) throws(SessionChannelError) {
    while true {
      // Read before the try: what becomes writable behind it is not missed.
      let before = writable.wait { $0 }
      if try channel.send(piece) { return }
      writable.wait { $0 != before ? () : nil }
    }
  }
}
