package import P2PFSSession
package import SystemPackage
import P2PFSWire

/// Why a pipe ended before both directions were complete.
package enum PipeError: Error, Equatable, CustomStringConvertible {
  /// The reader of the output is gone, here or on the other side.
  case brokenPipe(isHere: Bool)
  /// Reading the input failed.
  case input(Errno)
  /// Writing or closing the output failed.
  case output(Errno)
  /// The other side gave up, or is gone.
  case channel(SessionChannelError)

  /// The error of the pipe for an error of its channel.
  init(_ error: SessionChannelError) {
    if case .reset(.brokenPipe, _) = error { self = .brokenPipe(isHere: false) } else { self = .channel(error) }
  }

  /// It may contain text of the peer: escape it before it is shown.
  package var description: String {
    switch self {
    case .brokenPipe(isHere: true): "nobody takes the output any more (broken pipe)"
    case .brokenPipe(isHere: false): SessionChannelError.reset(.brokenPipe, "").description
    case .input(let error): "cannot read standard input: \(error)"
    case .output(let error): "cannot write standard output: \(error)"
    case .channel(let error): error.description
    }
  }
}
