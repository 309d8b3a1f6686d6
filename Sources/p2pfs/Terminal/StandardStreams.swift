import Glibc
import SystemPackage

/// Standard input and output, for a command that passes data on.
struct StandardStreams {
  /// nil: there is nothing to be read.
  let input: FileDescriptor?
  let output: FileDescriptor

  /// Takes them out of their places, where /dev/null remains: so closing them closes them for good, and nothing else
  /// that is printed can get into the data. Once.
  ///
  /// A terminal's input is passed over if the output is not a terminal: who types `p2pfs pipe CODE | tar x` wants it to
  /// end by itself.
  static func take() throws(Failure) -> StandardStreams {
    let hasInput = isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 1
    let output = try take(STDOUT_FILENO, O_WRONLY)
    return StandardStreams(input: hasInput ? try take(STDIN_FILENO, O_RDONLY) : nil, output: output)
  }

  private static func take(_ descriptor: Int32, _ mode: Int32) throws(Failure) -> FileDescriptor {
    let taken = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
    let null = open("/dev/null", mode | O_CLOEXEC)
    guard taken >= 0, null >= 0, dup2(null, descriptor) == descriptor else {
      throw Failure(.failed, "cannot take standard input and output: \(String(cString: strerror(errno)))")
    }
    close(null)
    return FileDescriptor(rawValue: taken)
  }

  /// Has something stand in for the standard descriptors that were closed when the program started, so that none of its
  /// own files gets their numbers. A closed input is empty; writing to a closed output still fails.
  static func fillGaps() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
      // The lowest free number is this one.
      _ = open("/dev/null", O_RDONLY)
    }
  }
}
