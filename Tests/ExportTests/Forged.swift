import CP2PFSLinux
import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import Testing
import P2PFSWire

@testable import P2PFSExport

/// A file outside an export that no request may reach, name or change.
struct Canary {
  let outside: TemporaryDirectory
  let status: stat

  init() throws {
    outside = try TemporaryDirectory()
    try place("canary", at: outside.path.appending("canary"))
    var status = stat()
    _ = lstat(outside.path.appending("canary").string, &status)
    self.status = status
  }

  var path: FilePath { outside.path.appending("canary") }

  /// Whether nothing about it and its directory has changed.
  var isUntouched: Bool {
    var now = stat()
    guard lstat(path.string, &now) == 0, contents(path) == Array("canary".utf8) else { return false }
    let same = now.st_ino == status.st_ino && now.st_mode == status.st_mode && now.st_nlink == status.st_nlink
    let unchanged = now.st_ctim.tv_sec == status.st_ctim.tv_sec && now.st_ctim.tv_nsec == status.st_ctim.tv_nsec
    return same && unchanged && names == ["canary"]
  }

  private var names: [String] {
    guard let directory = opendir(outside.path.string) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}

/// Requests for every operation that has a path, made by hand: the path is written as it is.
enum Forged {
  static func frame(_ operation: Operation, _ write: (Frame) -> Void) -> Frame {
    let frame = Frame(capacity: 2 * Limits.Wire.message)
    Header(kind: .request, operation: operation.rawValue).write(to: frame)
    write(frame)
    return frame
  }

  /// One frame for each place of each operation where a path stands; `good` is a path that is well formed.
  static func frames(path: [UInt8], good: [UInt8], handle: UInt64) -> [Frame] {
    func target(_ frame: Frame, _ bytes: [UInt8]) {
      frame.write(0 as UInt8)
      place(frame, bytes)
    }
    /// A path without any identity.
    func place(_ frame: Frame, _ bytes: [UInt8]) {
      frame.write(string: bytes)
      frame.write(0 as UInt8)
    }
    func changes(_ frame: Frame) {
      frame.write(3 as UInt32)
      frame.write(1 as Int64)
      for _ in 0..<2 {
        frame.write(0 as Int64)
        frame.write(0 as UInt32)
      }
      frame.write(0o777 as UInt32)
    }
    return [
      frame(.lookup) { target($0, path) },
      frame(.setattr) {
        target($0, path)
        changes($0)
      },
      frame(.list) {
        $0.write(handle)
        place($0, path)
        $0.write(0 as UInt64)
      },
      frame(.readlink) { $0.write(string: path) },
      frame(.symlink) {
        place($0, path)
        $0.write(string: Array("x".utf8))
      },
      frame(.link) {
        target($0, path)
        place($0, good)
      },
      frame(.link) {
        target($0, good)
        place($0, path)
      },
      frame(.mkdir) {
        place($0, path)
        $0.write(0o777 as UInt32)
        $0.write(0 as UInt32)
      },
      frame(.mknod) {
        place($0, path)
        $0.write(0o100666 as UInt32)
        $0.write(0 as UInt32)
      },
      frame(.unlink) { place($0, path) },
      frame(.rmdir) { place($0, path) },
      frame(.rename) {
        place($0, path)
        place($0, good)
        $0.write(0 as UInt8)
      },
      frame(.rename) {
        place($0, good)
        place($0, path)
        $0.write(2 as UInt8)
      },
      frame(.create) {
        $0.write(handle + 1)
        place($0, path)
        $0.write(3 as UInt8)
        $0.write(0o666 as UInt32)
        $0.write(0 as UInt32)
      },
      frame(.open) {
        $0.write(handle + 2)
        target($0, path)
        $0.write(11 as UInt8)
        $0.write(100 as UInt32)
      },
      frame(.reopen) {
        $0.write(handle + 3)
        $0.write(string: path)
        $0.write(3 as UInt8)
        for _ in 0..<3 { $0.write(0 as UInt64) }
      },
      frame(.statfs) { $0.write(string: path) },
    ]
  }
}
