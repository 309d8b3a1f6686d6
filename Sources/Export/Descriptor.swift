import Glibc
import SystemPackage

/// A file descriptor with one owner, closed when that goes.
package struct Descriptor: ~Copyable, Sendable {
  /// The number; valid as long as this value lives.
  package let rawValue: CInt

  /// Takes ownership of `rawValue`, the result of a system call.
  /// - Throws: errno, if it is negative.
  init(_ rawValue: CInt) throws(Errno) {
    guard rawValue >= 0 else { throw Errno(rawValue: errno) }
    self.rawValue = rawValue
  }

  deinit { _ = Glibc.close(rawValue) }

  /// Hands the number to another owner.
  consuming func release() -> CInt {
    let number = rawValue
    discard self
    return number
  }

  /// The path by which the same file can be opened again, or named without following anything.
  borrowing func procPath() -> [CChar] {
    procPathOfDescriptor(rawValue)
  }
}

/// The magic link of descriptor `number` of this process, NUL-terminated.
func procPathOfDescriptor(_ number: CInt) -> [CChar] {
  cString("/proc/self/fd/\(number)".utf8)
}

/// `bytes`, which hold no NUL, as C takes them.
func cString(_ bytes: some Collection<UInt8>) -> [CChar] {
  var result: [CChar] = []
  result.reserveCapacity(bytes.count + 1)
  for byte in bytes { result.append(CChar(bitPattern: byte)) }
  result.append(0)
  return result
}

/// Throws errno if the result of a system call says that it failed.
func check(_ result: CInt) throws(Errno) {
  guard result == 0 else { throw Errno(rawValue: errno) }
}
