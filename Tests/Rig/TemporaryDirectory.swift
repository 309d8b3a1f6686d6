import CP2PFSLinux
import Glibc
package import SystemPackage

/// A directory of its own for one test, removed with all that is in it when the last reference goes.
package final class TemporaryDirectory: Sendable {
  /// Where it is.
  package let path: FilePath

  /// Makes an empty directory under `/tmp`.
  package init() throws {
    var template = Array("/tmp/p2pfs-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    path = FilePath(String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self))
  }

  deinit {
    remove(path)
  }

  private func remove(_ path: FilePath) {
    var status = stat()
    guard lstat(path.string, &status) == 0 else { return }
    if status.st_mode & S_IFMT == S_IFDIR {
      if let directory = opendir(path.string) {
        while let entry = readdir(directory) {
          let name = withUnsafePointer(to: &entry.pointee.d_name) {
            String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
          }
          if name != ".", name != ".." { remove(path.appending(name)) }
        }
        closedir(directory)
      }
      rmdir(path.string)
    } else {
      unlink(path.string)
    }
  }
}

/// The names in a directory, in order; none if it is not there.
package func namesInDirectory(_ path: FilePath) -> [String] {
  guard let directory = opendir(path.string) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}
