import P2PFSCore
import SystemPackage
import P2PFSWire

/// Well-formed values to encode.
enum Samples {
  static let time = Timestamp(seconds: -1, nanoseconds: 999_999_999)

  static let attributes = Attributes(
    mode: 0o100644, links: 2, identity: FileIdentity(device: .max, inode: 7, generation: 0), size: Limits.Wire.fileSize,
    blocks: 8, accessed: time,
    modified: Timestamp(seconds: .max, nanoseconds: 0), changed: Timestamp(seconds: .min, nanoseconds: 1),
    rights: [.read, .owner], isRacy: true)

  static func slice(_ bytes: [UInt8]) -> FrameSlice {
    let frame = Frame(copying: bytes)
    return FrameSlice(frame, 0..<frame.count)
  }

  /// One request of each operation at least, with the extremes of its fields.
  static func requests() throws -> [Request] {
    let handle = Handle(rawValue: .max)
    let path = try Path(Array("a/b\u{ff}/ c".utf8))
    let (directory, file) = (attributes.identity, FileIdentity(device: 1, inode: 2, generation: .max))
    let place = Place(path, in: directory, file: file)
    let longest = try Path([UInt8](repeating: 65, count: 255))
    let all = AttributeChanges(mode: 0o1777, size: Limits.Wire.fileSize, accessed: .now, modified: .set(time))
    return [
      .lookup(.path(.root)), .lookup(.path(place)), .lookup(.path(Place(path, file: file))),
      .setattr(.path(place), all), .list(handle, place, cookie: 0), .unlink(Place(path, in: directory)),
      .symlink(place, target: [65]), .link(existing: .path(place), place), .mkdir(place, mode: 0), .rmdir(place),
      .mknod(place, mode: 0o100600), .rename(place, to: Place(longest, in: file), .replace),
      .create(handle, place, .write, mode: 0), .open(handle, .path(place), .write, prefetch: 0),
      .lookup(.path(longest)), .lookup(.handle(handle)),
      .setattr(.path(path), AttributeChanges()), .setattr(.handle(handle), all),
      .setattr(.path(path), AttributeChanges(accessed: .set(time), modified: .now)),
      .list(handle, path, cookie: .max), .readlink(path), .symlink(path, target: Array("../x".utf8)),
      .symlink(path, target: [UInt8](repeating: 66, count: Limits.Wire.linkTarget)),
      .link(existing: .path(path), longest), .link(existing: .handle(handle), path),
      .mkdir(path, mode: 0o1777, umask: 0o777),
      .mknod(path, mode: 0o010644), .mknod(path, mode: 0o100600), .mknod(path, mode: 0o140600, umask: 0o77),
      .unlink(path), .rmdir(path),
      .rename(path, to: longest, .replace), .rename(path, to: longest, .noReplace),
      .rename(path, to: longest, .exchange), .create(handle, path, [.read, .write, .exclusive], mode: 0o644),
      .open(handle, .handle(handle), .read, prefetch: 0),
      .open(handle, path, [.read, .append], prefetch: UInt32(Limits.Wire.read)),
      .read(handle, offset: Limits.Wire.fileSize, count: UInt32(Limits.Wire.read)),
      .write(handle, offset: Limits.Wire.fileSize, slice([UInt8](repeating: 1, count: Limits.Wire.data))),
      .write(handle, offset: 0, slice([])), .fsync(handle, dataOnly: true), .fsync(handle, dataOnly: false),
      .close(handle), .close(handle, accessed: true), .flush(handle),
      .append(handle, more: true, slice([UInt8](repeating: 1, count: Limits.Wire.data))),
      .append(handle, more: false, slice([])), .reopen(handle, path, [.read, .write], attributes.identity),
      .statfs(.root), .seek(handle, offset: 0, .data), .seek(handle, offset: 1, .hole),
      .allocate(handle, offset: 1, count: Limits.Wire.fileSize, mode: .max),
    ]
  }
}

/// Decodes a message that is a request.
func decode(_ frame: Frame) throws -> Request {
  var reader = Reader(frame)
  let header = try Header(&reader)
  return try Request(operation: header.operation, &reader)
}

/// A copy of a message. (The bytes of a frame live only as long as the frame.)
func bytes(_ frame: Frame) -> [UInt8] {
  withExtendedLifetime(frame) { Array(frame.bytes) }
}

/// The first `count` bytes of a message, as one of its own.
func cut(_ frame: Frame, _ count: Int) -> Frame { Frame(copying: bytes(frame)[..<count]) }
