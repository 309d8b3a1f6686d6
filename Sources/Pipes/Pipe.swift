import CP2PFSLinux
import P2PFSCore
import Glibc
package import P2PFSSession
import Synchronization
package import SystemPackage
import P2PFSWire

/// Connects two file descriptors with a channel: the input is sent to the peer, and the data of the peer is written to
/// the output, both at once, on a thread each.
///
/// ```
/// input ──read──▶ InputPump ──▶ SessionChannel ──▶ OutputPump ──writev──▶ output
/// ```
/// The end of the input ends that direction; the output is closed at the end of the other one. SIGPIPE must be ignored
/// in the process, so that a broken pipe is reported as an error.
package final class Pipe: Sendable {
  private struct State {
    /// The error of this side.
    var failure: PipeError?
  }

  let channel: SessionChannel
  /// Rung when `channel` has room, and when it has data; both when it has failed.
  let writable = PollWaker()
  let readable = PollWaker()
  private let input: FileDescriptor?
  private let output: FileDescriptor
  private let state = Mutex(State())
  private let isAbandoned = Atomic<Bool>(false)
  private let isOutputDone = Atomic<Bool>(false)

  /// Takes `channel`, as its only user, and the ownership of both descriptors. They may be non-blocking.
  /// - Parameter input: nil stands for an empty input.
  package init(input: FileDescriptor?, output: FileDescriptor, channel: SessionChannel) {
    self.input = input
    self.output = output
    self.channel = channel
    for descriptor in [input, output].compactMap({ $0 }) {
      // Only a pipe can have a larger buffer, and only within the user's limit; otherwise it works as it is.
      p2pfs_widen_pipe(descriptor.rawValue, Limits.Pipes.buffer)
    }
  }

  /// Runs until the end: returns if both directions are complete, the outputs of both sides are closed, and the peer
  /// has confirmed it. Call once. A cancelled task gives up at once, and the peer is told.
  package func run() async throws(PipeError) {
    channel.attach(
      onReadable: { [weak self] in self?.readable.ring() }, onWritable: { [weak self] in self?.writable.ring() })
    Worker.detached("pipe-output") { [self] in
      OutputPump(self, output).run()
      isOutputDone.store(true, ordering: .releasing)
    }
    if let input {
      Worker.detached("pipe-input") { [self] in InputPump(self, input).run() }
    } else {
      channel.finish()
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in channel.whenOver { continuation.resume() } }
    } onCancel: {
      isAbandoned.store(true, ordering: .relaxed)
      channel.reset(.cancelled, "it was interrupted")
    }
    guard let failure = channel.failure else { return }
    readable.ring()
    writable.ring()
    await drain()
    throw state.withLock { $0.failure } ?? PipeError(failure)
  }

  /// Data that has arrived is written although the rest will not come, as far as the output accepts it.
  private func drain() async {
    let end = Instant.now.advanced(by: Limits.Pipes.drain)
    while !isAbandoned.load(ordering: .relaxed), !isOutputDone.load(ordering: .acquiring), Instant.now < end {
      try? await Task.sleep(for: .milliseconds(5))
    }
  }

  /// Reports a failure of this side to the peer.
  func fail(_ error: PipeError) {
    state.withLock { if $0.failure == nil { $0.failure = error } }
    switch error {
    case .brokenPipe: channel.reset(.brokenPipe)
    case .input(let error): channel.reset(.failed, "it cannot read its standard input: \(error)")
    case .output(let error): channel.reset(.failed, "it cannot write its standard output: \(error)")
    case .channel: preconditionFailure("a failure of the channel is no news to it")
    }
  }
}
