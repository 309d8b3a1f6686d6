import CP2PFSLinux
import Glibc
package import SystemPackage

/// What POSIX and Linux promise of a filesystem, as a table that any directory can be held against: a plain one, to
/// prove the table, and a mount.
///
/// Each case works in an empty directory of its own. None hangs by itself; on a mount, something outside must cut
/// it off if it does.
package struct POSIXCase: Sendable, CustomStringConvertible {
  /// What is promised.
  package let name: String
  /// Throws what was found instead.
  package let body: @Sendable (FilePath) throws -> Void

  init(_ name: String, _ body: @escaping @Sendable (FilePath) throws -> Void) {
    self.name = name
    self.body = body
  }

  package var description: String { name }

  /// Runs the case in a new directory beneath `directory`, and removes that.
  package func run(in directory: FilePath) throws {
    let place = directory.appending(
      "case-" + name.map { $0.isLetter || $0.isNumber ? String($0) : "-" }.joined().prefix(80))
    try check(mkdir(place.string, 0o755), "mkdir \(place)")
    defer { removeTree(place) }
    try body(place)
  }

  /// All cases.
  package static let all: [POSIXCase] = files + sizes + names + directories + data + identity + flags
}

/// What a case found.
package struct POSIXFailure: Error, CustomStringConvertible {
  package let description: String
}

/// Fails unless `condition` holds.
func expect(_ condition: Bool, _ what: @autoclosure () throws -> String, line: Int = #line) throws {
  guard condition else { throw POSIXFailure(description: "line \(line): \(try what())") }
}

/// The result of a system call, which must not be -1.
@discardableResult
func check<Number: SignedInteger>(_ result: Number, _ what: @autoclosure () -> String, line: Int = #line) throws
  -> Number
{
  guard result != -1 else {
    throw POSIXFailure(description: "line \(line): \(what()): \(Errno(rawValue: errno))")
  }
  return result
}

/// Fails unless a system call fails with one of `errors`.
func expectError<Number: SignedInteger>(
  _ errors: CInt..., from result: @autoclosure () -> Number, _ what: String, line: Int = #line
) throws {
  let result = result()
  let error = errno
  guard result == -1, errors.contains(error) else {
    let found = result == -1 ? "\(Errno(rawValue: error))" : "success"
    throw POSIXFailure(description: "line \(line): \(what): \(found)")
  }
}

/// An open file, closed when the value goes.
final class File {
  let descriptor: CInt

  init(_ path: FilePath, _ flags: CInt, _ mode: mode_t = 0o644, line: Int = #line) throws {
    descriptor = try check(open(path.string, flags | O_CLOEXEC, mode), "open \(path)", line: line)
  }

  deinit { _ = Glibc.close(descriptor) }

  func write(_ bytes: [UInt8], at offset: Int? = nil, line: Int = #line) throws {
    let count =
      offset.map { pwrite(descriptor, bytes, bytes.count, $0) } ?? Glibc.write(descriptor, bytes, bytes.count)
    try check(count, "write", line: line)
    try expect(count == bytes.count, "\(count) of \(bytes.count) bytes written", line: line)
  }

  func read(_ count: Int, at offset: Int, line: Int = #line) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let result = try check(
        bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress! + done, count - done, offset + done) },
        "read", line: line)
      if result == 0 { break }
      done += result
    }
    return Array(bytes[..<done])
  }

  var status: stat {
    get throws {
      var status = stat()
      try check(fstat(descriptor, &status), "fstat")
      return status
    }
  }
}

func status(_ path: FilePath, line: Int = #line) throws -> stat {
  var status = stat()
  try check(lstat(path.string, &status), "lstat \(path)", line: line)
  return status
}

func write(_ text: String, to path: FilePath, line: Int = #line) throws {
  let file = try File(path, O_WRONLY | O_CREAT | O_TRUNC, line: line)
  try file.write(Array(text.utf8), line: line)
}

func contents(_ path: FilePath, line: Int = #line) throws -> String {
  let file = try File(path, O_RDONLY, line: line)
  let size = Int(try file.status.st_size)
  return String(decoding: try file.read(size + 1, at: 0, line: line), as: UTF8.self)
}

/// The names in a directory, `.` and `..` left out.
func listing(_ path: FilePath) throws -> [String] {
  guard let directory = opendir(path.string) else {
    throw POSIXFailure(description: "opendir \(path): \(Errno(rawValue: errno))")
  }
  defer { closedir(directory) }
  return entries(directory)
}

/// The names that are left to read.
func entries(_ directory: OpaquePointer) -> [String] {
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}

func removeTree(_ path: FilePath) {
  guard let status = try? status(path) else { return }
  if status.st_mode & S_IFMT == S_IFDIR {
    for name in (try? listing(path)) ?? [] { removeTree(path.appending(name)) }
    rmdir(path.string)
  } else {
    unlink(path.string)
  }
}

/// Bytes that look random, always the same.
func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
  return (0..<count).map { _ in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return UInt8(truncatingIfNeeded: state >> 24)
  }
}
