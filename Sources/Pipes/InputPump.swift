import P2PFSCore
import Glibc
import P2PFSSession
import SystemPackage

/// Reads a descriptor into pieces of a channel until its end. Runs on a thread of its own.
struct InputPump: ~Copyable {
  private let pipe: Pipe
  private let input: Int32

  init(_ pipe: Pipe, _ input: FileDescriptor) {
    self.pipe = pipe
    self.input = input.rawValue
  }

  deinit { close(input) }

  consuming func run() {
    do throws(SessionChannelError) { try pump() } catch {
      // The user of the channel sees the failure as well.
    }
  }

  private borrowing func pump() throws(SessionChannelError) {
    var empty = SessionChannel.piece(capacity: Limits.Pipes.piece)
    while true {
      pipe.writable.listen()
      if let failure = pipe.channel.failure { throw failure }
      // Not read(2) alone: the end of the channel must end this too. A regular file is always ready.
      guard pipe.writable.wait(for: POLLIN, at: input) != 0 else { continue }
      let spare = empty.spare
      let count = read(input, spare.baseAddress, spare.count)
      if count == 0 { return pipe.channel.finish() }
      guard count > 0 else {
        // EAGAIN: another process shares the descriptor and was faster.
        if errno != EINTR, errno != EAGAIN { return pipe.fail(.input(Errno(rawValue: errno))) }
        continue
      }
      // Send at once, however little it is. A piece is kept until the peer has consumed it, so it must not be mostly
      // empty.
      if count * 2 < spare.count {
        let piece = SessionChannel.piece(capacity: count)
        piece.spare.copyMemory(from: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(spare)[..<count]))
        piece.count += count
        try send(piece)
      } else {
        empty.count += count
        try send(empty)
        empty = SessionChannel.piece(capacity: Limits.Pipes.piece)
      }
    }
  }

  private borrowing func send(_ piece: Frame) throws(SessionChannelError) {
    while try !pipe.channel.send(piece) {
      pipe.writable.listen()
      // Check again: the room may have come in between.
      if try pipe.channel.send(piece) { return }
      pipe.writable.wait()
    }
  }
}
