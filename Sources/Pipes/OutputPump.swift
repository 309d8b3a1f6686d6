import P2PFSCore
import Glibc
import P2PFSSession
import SystemPackage

/// Writes the data of a channel to a descriptor until the end, and closes it. Runs on a thread of its own.
struct OutputPump: ~Copyable {
  private enum Gathered {
    case pieces
    case end
    case nothing
  }

  private let pipe: Pipe
  private let output: Int32
  private var batch: [FrameSlice] = []

  init(_ pipe: Pipe, _ output: FileDescriptor) {
    self.pipe = pipe
    self.output = output.rawValue
    batch.reserveCapacity(Limits.Pipes.batchPieces)
  }

  consuming func run() {
    do {
      try pump()
      // A socket that is also the input would stay open.
      shutdown(output, Int32(SHUT_WR))
      // The last chance of a filesystem to report that the data could not be stored.
      guard close(output) == 0 || errno == EINTR else { return pipe.fail(.output(Errno(rawValue: errno))) }
      pipe.channel.consumedEnd()
    } catch {
      close(output)
      // The user of the channel sees its failure as well.
      if case .channel = error { return }
      pipe.fail(error)
    }
  }

  /// Writes all data until the end of the channel.
  private mutating func pump() throws(PipeError) {
    while true {
      switch try gather() {
      case .end: return
      case .pieces: try writeBatch()
      case .nothing: try wait()
      }
    }
  }

  /// Takes the available data, at most as much as one system call writes.
  private mutating func gather() throws(PipeError) -> Gathered {
    var bytes = 0
    while batch.count < Limits.Pipes.batchPieces, bytes < Limits.Pipes.batch {
      do throws(SessionChannelError) {
        switch try pipe.channel.receive() {
        case .piece(let piece):
          batch.append(piece)
          bytes += piece.count
          continue
        // The end is returned again after the batch is written.
        case .end: return batch.isEmpty ? .end : .pieces
        case .nothing: return batch.isEmpty ? .nothing : .pieces
        }
      } catch {
        // Data that arrived before the failure is written.
        if batch.isEmpty { throw PipeError(error) }
        return .pieces
      }
    }
    return .pieces
  }

  /// Waits for the peer, and detects meanwhile that the reader of the output is gone.
  private mutating func wait() throws(PipeError) {
    pipe.readable.listen()
    guard case .nothing = try gather() else { return try writeBatch() }
    let events = pipe.readable.wait(for: 0, at: output)
    if events & POLLNVAL != 0 { throw .output(.badFileDescriptor) }
    if events & (POLLERR | POLLHUP) != 0 { try awaitEnd() }
  }

  /// The reader of the output is gone. That is no error if only the end is missing, as when tar(1) has seen the end of
  /// its archive before us; so the end is awaited as long as there is a connection.
  private mutating func awaitEnd() throws(PipeError) {
    var waited = 0.0
    while waited < Limits.Pipes.patience {
      let start = Instant.now
      pipe.readable.listen()
      guard case .nothing = try gather() else { return try writeBatch() }
      pipe.readable.wait(milliseconds: 250)
      if pipe.channel.isConnected { waited += Instant.now.seconds(since: start) }
    }
    throw .brokenPipe(isHere: true)
  }

  private mutating func writeBatch() throws(PipeError) {
    var first = 0
    var written = 0
    while first < batch.count {
      let count = gatherWrite(from: first, offset: written)
      guard count >= 0 else {
        switch errno {
        case EINTR: continue
        case EAGAIN: waitForRoom()
        case EPIPE: throw .brokenPipe(isHere: true)
        default: throw .output(Errno(rawValue: errno))
        }
        continue
      }
      written += count
      while first < batch.count, written >= batch[first].count {
        written -= batch[first].count
        pipe.channel.consumed(batch[first])
        first += 1
      }
    }
    batch.removeAll(keepingCapacity: true)
  }

  /// Writes the pieces from `first` on, the first of them from `offset` on. Returns the result of writev(2).
  private func gatherWrite(from first: Int, offset: Int) -> Int {
    withUnsafeTemporaryAllocation(of: iovec.self, capacity: batch.count - first) { vectors in
      for (index, piece) in batch[first...].enumerated() {
        let bytes = piece.bytes
        vectors.initializeElement(
          at: index,
          to: iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count))
      }
      vectors[0].iov_base += offset
      vectors[0].iov_len -= offset
      return writev(output, vectors.baseAddress, Int32(vectors.count))
    }
  }

  private func waitForRoom() {
    var polled = pollfd(fd: output, events: Int16(POLLOUT), revents: 0)
    _ = poll(&polled, 1, -1)
  }
}
