import P2PFSCore
import SystemPackage
import Synchronization
import P2PFSWire

/// What one session has open, by the handles that its peer chose.
///
/// A handle is reserved before anything is opened, so that a peer that asks for too much, or for a handle twice,
/// changes nothing. Some are its own for sure, and further ones come from a stock that all sessions share.
final class OpenFileTable: Sendable {
  fileprivate enum Slot {
    case reserved
    case file(ServedFile)
    case listing(DirectoryReader)
  }

  fileprivate struct State {
    var slots: [Handle: Slot] = [:]
    var listings: Set<Handle> = []
    /// Handles of files that could not be opened again after a restart, and why.
    var dead: [Handle: Errno] = [:]
    var uses: UInt64 = 0
    var isEnded = false
  }

  private let allowance: OpenFileAllowance
  private let stock: OpenFileStock
  private let state = Mutex(State())

  /// A table of at most `allowance` handles, which takes those beyond its own from `stock`.
  init(_ allowance: OpenFileAllowance, _ stock: OpenFileStock) {
    self.allowance = allowance
    self.stock = stock
  }

  deinit { state.withLock { give(back: $0.slots.count) } }

  /// Files and listings that are open or being opened.
  var count: Int { state.withLock { $0.slots.count } }

  /// Takes `handle` for a file that is about to be opened.
  /// - Throws: `EINVAL` if it is in use, `EMFILE` if there are too many.
  func reserve(_ handle: Handle) throws(Errno) {
    try state.withLock { (state) throws(Errno) in
      guard !state.isEnded else { throw .ioError }
      guard state.slots[handle] == nil else { throw .invalidArgument }
      guard state.slots.count + state.dead.count < allowance.most else { throw .tooManyOpenFiles }
      try takeRoom(besides: state.slots.count)
      state.slots[handle] = .reserved
    }
  }

  /// Gives `handle`, which was reserved, its file; nil gives it back.
  func fill(_ handle: Handle, _ file: ServedFile?) {
    state.withLock { state in
      guard !state.isEnded else { return }
      state.slots[handle] = file.map(Slot.file)
      if file == nil { giveRoom(besides: state.slots.count) }
    }
  }

  /// The file, or the directory of the listing, of `handle`.
  /// - Throws: `EBADF` if there is none.
  func file(_ handle: Handle) throws(Errno) -> ServedFile {
    try state.withLock { (state) throws(Errno) in
      switch state.slots[handle] {
      case .file(let file): return file
      case .listing(let listing): return listing.file
      case .reserved, nil: throw state.dead[handle] ?? .badFileDescriptor
      }
    }
  }

  /// Whether the handle is in use.
  func knows(_ handle: Handle) -> Bool { state.withLock { $0.slots[handle] != nil || $0.dead[handle] != nil } }

  /// Has all that is asked of `handle` end with an error, until it is buried.
  func lay(_ handle: Handle, _ error: Errno) {
    state.withLock { state in
      if !state.isEnded, state.slots.count + state.dead.count < allowance.most { state.dead[handle] = error }
    }
  }

  /// Forgets a handle that ends everything with an error.
  /// - Returns: whether it was one.
  func bury(_ handle: Handle) -> Bool { state.withLock { $0.dead.removeValue(forKey: handle) != nil } }

  /// The listing of `handle`; nil if there is none.
  /// - Throws: `EBADF` if the handle is a file.
  func listing(_ handle: Handle) throws(Errno) -> DirectoryReader? {
    try state.withLock { (state) throws(Errno) in
      switch state.slots[handle] {
      case .listing(let listing):
        state.uses += 1
        listing.used = state.uses
        return listing
      case .file, .reserved: throw .badFileDescriptor
      case nil: return nil
      }
    }
  }

  /// Adds a listing; the least recently used one goes if there are too many.
  /// - Throws: `EMFILE` if there are too many files.
  func add(_ listing: DirectoryReader, as handle: Handle) throws(Errno) {
    let evicted: Slot? = try state.withLock { (state) throws(Errno) in
      guard !state.isEnded else { throw .ioError }
      var evicted: Slot?
      if state.listings.count >= min(Limits.Export.listings, max(allowance.most / 2, 1)) {
        let oldest = state.listings.min { state.used($0) < state.used($1) }
        if let oldest {
          evicted = state.slots.removeValue(forKey: oldest)
          giveRoom(besides: state.slots.count)
          state.listings.remove(oldest)
        }
      }
      try takeRoom(besides: state.slots.count)
      state.uses += 1
      listing.used = state.uses
      state.slots[handle] = .listing(listing)
      state.listings.insert(handle)
      return evicted
    }
    // Its directory is closed here, outside the lock.
    _ = consume evicted
  }

  /// Takes `handle` out of the table.
  /// - Throws: `EBADF` if there is none.
  func remove(_ handle: Handle) throws(Errno) -> ServedFile {
    try state.withLock { (state) throws(Errno) in
      let removed = state.slots.removeValue(forKey: handle)
      if removed != nil { giveRoom(besides: state.slots.count) }
      switch removed {
      case .file(let file): return file
      case .listing(let listing):
        state.listings.remove(handle)
        return listing.file
      case .reserved, nil: throw .badFileDescriptor
      }
    }
  }

  /// Closes everything, for good. May wait for disks.
  func end() {
    let slots = state.withLock { state in
      state.isEnded = true
      state.listings = []
      state.dead = [:]
      defer { state.slots = [:] }
      return state.slots
    }
    give(back: slots.count)
    _ = consume slots
  }

  /// Takes room for one more than `count` handles.
  private func takeRoom(besides count: Int) throws(Errno) {
    guard count < allowance.most, count < allowance.own || stock.take() else { throw .tooManyOpenFiles }
  }

  /// Gives back the room of one more than `count` handles.
  private func giveRoom(besides count: Int) {
    if count >= allowance.own { stock.give(1) }
  }

  private func give(back count: Int) { stock.give(max(count - allowance.own, 0)) }
}

extension OpenFileTable.State {
  fileprivate func used(_ handle: Handle) -> UInt64 {
    if case .listing(let listing) = slots[handle] { return listing.used }
    return 0
  }
}
