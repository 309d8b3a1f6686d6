import P2PFSCore
import SystemPackage
import P2PFSWire

/// What the journal holds of the last change that a client asked for in one slot.
///
/// ```
///             intend                   finish
///  (free) ──────────────▶ intended ──────────────▶ done
///     ▲                       │  the process dies: was it done? (`verdict`)
///     └── forget ─────────────┘
/// ```
/// `intended` is written before the first system call of a change that must not be made twice, `done` before its answer
/// leaves. A plain value.
///
/// ```
///  0       4           5       6    8          16       40        64     72      76      80       88
/// +-------+-----------+-------+----+----------+--------+---------+------+-------+-------+--------+
/// | state | operation | flags |  0 | sequence | source | target  | size | count | errno | offset |
/// +-------+-----------+-------+----+----------+--------+---------+------+-------+-------+--------+
/// ```
struct JournalRecord: Equatable {
  /// How far the change has come.
  enum State: UInt32 {
    case free = 0
    case intended = 1
    case done = 2
  }

  var state = State.intended
  var operation: UInt8
  /// The number that the client gave its request.
  var sequence: UInt64
  /// Which file had the first name before, or, once an opening is done, which file was opened; nil: none.
  var source: FileIdentity?
  /// Which file had the second name before; nil: none.
  var target: FileIdentity?
  /// Appends: the size of the file before, how many bytes were to be written, and, once it is done, where the first of
  /// them is; then `count` says how many were.
  var size: Int64 = 0
  var count: UInt32 = 0
  var offset: Int64 = 0
  /// Once it is done, the error that it ended with; 0: none.
  var status: UInt32 = 0

  /// Room of one record in bytes: two lines of the processor's cache.
  static let length = 128

  private static let hasSource: UInt8 = 1
  private static let hasTarget: UInt8 = 2

  /// A change that is about to be made, or one that is done.
  init(_ state: State = .intended, operation: UInt8, sequence: UInt64) {
    self.state = state
    self.operation = operation
    self.sequence = sequence
  }

  /// Reads what `writeFields` has written; `state` was read before. `memory` has `length` bytes.
  init(_ state: State, from memory: UnsafeRawBufferPointer) {
    self.state = state
    operation = memory[4]
    let flags = memory[5]
    sequence = memory.load(fromByteOffset: 8, as: UInt64.self)
    source = flags & Self.hasSource == 0 ? nil : FileIdentity(memory, at: 16)
    target = flags & Self.hasTarget == 0 ? nil : FileIdentity(memory, at: 40)
    size = memory.load(fromByteOffset: 64, as: Int64.self)
    count = memory.load(fromByteOffset: 72, as: UInt32.self)
    status = memory.load(fromByteOffset: 76, as: UInt32.self)
    offset = memory.load(fromByteOffset: 80, as: Int64.self)
  }

  /// Writes everything but the state, which says whether the rest is to be believed.
  func writeFields(to memory: UnsafeMutableRawBufferPointer) {
    memory[4] = operation
    memory[5] = (source == nil ? 0 : Self.hasSource) | (target == nil ? 0 : Self.hasTarget)
    memory.storeBytes(of: sequence, toByteOffset: 8, as: UInt64.self)
    source?.store(to: memory, at: 16)
    target?.store(to: memory, at: 40)
    memory.storeBytes(of: size, toByteOffset: 64, as: Int64.self)
    memory.storeBytes(of: count, toByteOffset: 72, as: UInt32.self)
    memory.storeBytes(of: status, toByteOffset: 76, as: UInt32.self)
    memory.storeBytes(of: offset, toByteOffset: 80, as: Int64.self)
  }

  /// The error that a change that is done has ended with; nil: none.
  var error: Errno? { status == 0 ? nil : Errno(status: status) }
}

extension FileIdentity {
  fileprivate init(_ memory: UnsafeRawBufferPointer, at offset: Int) {
    func word(_ number: Int) -> UInt64 { memory.load(fromByteOffset: offset + number * 8, as: UInt64.self) }
    self.init(device: word(0), inode: word(1), generation: word(2))
  }

  fileprivate func store(to memory: UnsafeMutableRawBufferPointer, at offset: Int) {
    for (number, word) in [device, inode, generation].enumerated() {
      memory.storeBytes(of: word, toByteOffset: offset + number * 8, as: UInt64.self)
    }
  }
}

extension JournalRecord {
  /// What is at the names of a request now.
  struct Names: Equatable {
    /// What has the first name; of what makes something, nil unless it is of the kind that would have been made.
    var source: FileIdentity?
    /// What has the second name.
    var target: FileIdentity?
  }

  /// What is to become of a request that an earlier process has begun with.
  enum Verdict: Equatable {
    /// It was done, and ended like this; nil: without an error.
    case done(Errno?)
    /// It was not, or doing it again makes no difference.
    case undone
  }

  /// Decides whether the change was made, by what is at its names. If others have changed the same names since, nothing
  /// can tell for sure; it is then taken for what is the likelier.
  func verdict(for request: Request, now: Names) -> Verdict {
    if state == .done { return .done(error) }
    let isDone =
      switch request {
      case .mkdir, .mknod, .symlink, .link, .create: source == nil && now.source != nil
      case .unlink, .rmdir: source != nil && now.source != source
      case .rename(_, _, .exchange):
        source != nil && source != target && now.target == source && now.source == target
      case .rename: source != nil && source != target && now.target == source && now.source != source
      // Doing them again comes to the same. Appends are decided by their bytes.
      default: false
      }
    return isDone ? .done(nil) : .undone
  }
}

/// What is to become of an append that an earlier process has begun with.
enum AppendVerdict: Equatable {
  /// Nothing of it is in the file.
  case undone
  /// Its first `count` bytes are, the last ones of the file, from `offset` on.
  case part(offset: Int64, count: Int)
  /// All of it is, from `offset` on.
  case done(offset: Int64)

  /// Decides by the bytes that the file has grown by since it had `size`: `grown` is the first of them, `isAll` says that
  /// there are no more.
  init(of data: UnsafeRawBufferPointer, size: Int64, grown: UnsafeRawBufferPointer, isAll: Bool) {
    self = .undone
    guard !data.isEmpty, !grown.isEmpty else { return }
    // Somebody else may have appended in between, before ours or after it.
    for start in grown.indices where grown[start] == data[0] {
      let rest = UnsafeRawBufferPointer(rebasing: grown[start...])
      if rest.count >= data.count {
        guard rest.prefix(data.count).elementsEqual(data) else { continue }
        self = .done(offset: size + Int64(start))
        return
      }
      guard isAll, rest.elementsEqual(data.prefix(rest.count)) else { continue }
      self = .part(offset: size + Int64(start), count: rest.count)
      return
    }
  }
}
