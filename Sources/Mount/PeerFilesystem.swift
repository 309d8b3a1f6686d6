import P2PFSCore
import DequeModule
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// The filesystem of the peer, for the kernel.
///
/// The kernel's workers decode a request and answer it from what is known; or they send a request to the peer,
/// whose reply answers the kernel from the link's thread. Nobody waits. One lock guards all that is known; it is
/// never held while anything is sent, or answered, or while libfuse is called.
final class PeerFilesystem: FUSEFilesystem {
  /// Everything that is known. Under one lock.
  struct State {
    var tree: NodeTree
    var files: [UInt64: OpenFile] = [:]
    let readAhead = ReadAheadTotal()
    var directories: [UInt64: OpenDirectory] = [:]
    var nextDirectory: UInt64 = 1

    /// Bytes of writes, and how many, that are sent and not answered.
    var unacknowledged = 0
    var writesUnderWay = 0
    /// Files with pieces to send.
    var ready = Deque<Node>()
    var isPumping = false
    /// Files closed with writes that failed and that no program was told of: how many, and the first paths.
    var lost = 0
    var lostPaths: [[UInt8]] = []
    /// Files opened before the kernel asks, by their nodes, and threads that are about to ask.
    var pinned: [PinKey: PinnedFile] = [:]
    var retries: [Int32: OpenRetry] = [:]
    /// Threads that were answered ESTALE on anything else, and until when the kernel's second try is expected.
    var staleThreads: [Int32: Instant] = [:]
    /// Threads that were answered ESTALE so that the kernel lets go of its locks.
    var detours = Detours<PendingRequest, @Sendable () -> Void>()
    /// Symbolic links that were made through this mount, with their targets.
    var ownLinks: [RemoteFile: [UInt8]] = [:]
    var hasRefusedLink = false
    /// When files with several names were changed from here: listings that are older are not believed about them.
    var changedLinks: [RemoteFile: Instant] = [:]
    /// Seconds for which listings and attributes are believed at most.
    var validity = Limits.Mount.validity

    /// Directories with a cached listing, oldest first, and the entries of these.
    var listed = Deque<UInt64>()
    var cachedEntries = 0
    var ahead = ListingsAhead()
    var unsynced = Unsynced()
    var statistics: [UInt64: (values: FUSEStatistics, asked: Instant)] = [:]
  }

  let requester: any Requester
  let options: MountOptions
  let log: Logger
  let state: Mutex<State>
  private let interrupts: InterruptTable
  private let mounted = Mutex<FUSESession?>(nil)
  private let ending: @Sendable () -> Void

  /// - Parameters:
  ///   - root: where in the peer's export this filesystem starts, and `attributes` what is there.
  ///   - ending: called once, from a thread of the session, when the kernel has let go.
  init(
    requester: any Requester, root: Path, attributes: Attributes, asked: Instant, options: MountOptions,
    log: Logger, ending: @escaping @Sendable () -> Void
  ) {
    self.requester = requester
    self.options = options
    self.log = log
    self.ending = ending
    state = Mutex(
      State(
        tree: NodeTree(base: root, attributes: attributes, asked: asked),
        validity: max(options.attributeTimeout, options.entryTimeout)))
    interrupts = InterruptTable(isOnline: { [requester] in requester.isOnline })
    interrupts.start(for: self)
    watchRestarts()
  }

  /// Names the session that notifications to the kernel go through.
  func attach(_ session: FUSESession) { mounted.withLock { $0 = session } }

  /// The session, while mounted.
  var session: FUSESession? { mounted.withLock { $0 } }

  /// Lets go of everything: the last step, when no worker runs any more.
  func end() {
    interrupts.stop()
    mounted.withLock { $0 = nil }
    for pending in locked({ $0.detours.removeAll() }) { pending.forsake() }
    let handles = state.withLock { state in
      defer {
        state.tree.dismantle()
        state.files = [:]
        state.directories = [:]
        state.ready = []
        state.pinned = [:]
      }
      return state.files.values.map(\.handle) + state.pinned.values.map(\.file.handle)
    }
    for handle in handles { requester.send(Request.close(handle).encoded(), on: .control) { _ in } }
  }

  func ended() { ending() }

  // MARK: Waiting for the peer

  /// Takes the request as one that is answered later.
  /// - Parameters:
  ///   - relief: how the kernel can be made to let go of the locks that it holds for it meanwhile.
  ///   - died: called, once, if the process dies first.
  func wait(
    _ request: consuming FUSERequest, _ kind: PendingRequest.Kind = .answer, relief: PendingRequest.Relief? = nil,
    died: (@Sendable () -> Void)? = nil
  ) -> PendingRequest {
    interrupts.add(request, kind, relief, died: died)
  }

  func interrupted(_ identifier: UInt64) { interrupts.interrupt(identifier) }

  /// Has the interrupts look after a request whose process may be past signals.
  func watch(_ pending: PendingRequest) { interrupts.interrupt(pending.identifier) }

  /// Sends a request on the control lane.
  @discardableResult
  func send(_ request: Request, _ completion: @escaping @Sendable (Reply) -> Void) -> UInt64 {
    requester.send(request.encoded(), on: .control, completion: completion)
  }

  /// The attributes in a reply, or the error that it stands for.
  static func attributes(in reply: Reply) -> Result<Attributes, Errno> {
    if let error = reply.error { return .failure(error) }
    do {
      return .success(try reply.attributes())
    } catch {
      return .failure(.ioError)
    }
  }

  // MARK: What the kernel is told

  /// The attributes of a node as they show here.
  func shown(_ node: Node) -> FUSEAttributes {
    var shown = shown(node.attributes, inode: node.inode)
    shown.size = max(shown.size, node.writes.end)
    if node.isUnlinked {
      // Its last name went since the peer was asked; a directory has no further links then.
      shown.links = node.isDirectory || shown.links == 0 ? 0 : shown.links - (node.isKnown ? 0 : 1)
    }
    return shown
  }

  /// The peer's attributes as they show here.
  func shown(_ attributes: Attributes, inode: UInt64) -> FUSEAttributes {
    var shown = FUSEAttributes()
    shown.inode = inode
    shown.mode = attributes.mode
    if !attributes.rights.contains(.owner) {
      // The bits of the owner are another's: shown are those of whoever may use it through this mount.
      shown.mode = shown.mode & ~0o700 | UInt32(attributes.rights.rawValue & 7) << 6
    }
    shown.mode &= ~options.umask
    shown.links = UInt64(attributes.links)
    shown.user = options.user
    shown.group = options.group
    shown.size = attributes.size
    shown.blocks = Int64(clamping: attributes.blocks)
    shown.accessed = FUSEAttributes.Time(attributes.accessed)
    shown.modified = FUSEAttributes.Time(attributes.modified)
    shown.changed = FUSEAttributes.Time(attributes.changed)
    return shown
  }

  /// The reply that names the node by one of its names; it counts as a lookup. Under the lock.
  func entry(
    for node: Node, as name: [UInt8], in directory: Node, now: Instant, nameValidity: Double
  ) -> FUSEEntry {
    node.lookups += 1
    if let index = node.names.lastIndex(where: { $0.parent === directory && $0.bytes == name }) {
      node.names[index].toldUntil = now.advanced(by: nameValidity)
    }
    let validity = node.validity(at: now, timeout: options.attributeTimeout)
    return FUSEEntry(
      node: node.id, attributes: told(node, now: now, validity), attributeTimeout: validity, entryTimeout: nameValidity)
  }

  /// The attributes of a node, which the kernel is going to believe for `validity` seconds. Under the lock.
  func told(_ node: Node, now: Instant, _ validity: Double) -> FUSEAttributes {
    let shown = shown(node)
    node.toldSize = (shown.size, now.advanced(by: validity))
    return shown
  }

  /// The kernel did not take the reply that named a node.
  func undo(lookupOf node: UInt64) {
    locked { $0.tree.forget(node, count: 1) }
  }

  // MARK: The lock

  /// Looks at what is known, or changes it, and then does what follows from it.
  func locked<Result>(_ body: (inout State) -> Result) -> Result {
    let (result, effects) = state.withLock { state -> (Result, NodeTree.Effects) in
      let result = body(&state)
      guard !state.tree.effects.isEmpty else { return (result, NodeTree.Effects()) }
      defer { state.tree.effects = NodeTree.Effects() }
      return (result, state.tree.effects)
    }
    guard !effects.isEmpty else { return result }
    for request in effects.abandoned { requester.abandon(request) }
    for node in effects.stalePages { session?.invalidate(contentsOf: node) }
    return result
  }
}

extension FUSEAttributes.Time {
  init(_ time: Timestamp) { self.init(seconds: time.seconds, nanoseconds: time.nanoseconds) }
}
