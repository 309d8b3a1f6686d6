import Core
import DequeModule
import FUSE
import Glibc
import Logging
import Session
import Synchronization
import SystemPackage
import Wire

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
    var directories: [UInt64: OpenDirectory] = [:]
    var nextDirectory: UInt64 = 1

    /// Bytes of writes, and how many, that are sent and not answered.
    var unacknowledged = 0
    var writesUnderWay = 0
    /// Files with pieces to send.
    var ready = Deque<Node>()
    var isPumping = false
    var pumpAgain = false
    /// Writes that failed, and that no program has been told of.
    var lost = 0

    /// Directories with a cached listing, oldest first, and the entries of these.
    var listed = Deque<UInt64>()
    var cachedEntries = 0
    var ahead = ListingsAhead()
    var unsynced = Unsynced()
    var statistics: (values: FUSEStatistics, asked: Instant)?
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
        tree: NodeTree(
          base: root, attributes: attributes, asked: asked, seed: UInt64.random(in: 0 ... .max))))
    interrupts = InterruptTable(
      isOnline: { [requester] in requester.isOnline }, interrupted: { PeerFilesystem.endInterrupted($0) })
    interrupts.start()
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
    let handles = state.withLock { state in
      defer {
        state.tree.dismantle()
        state.files = [:]
        state.directories = [:]
        state.ready = []
      }
      return state.files.values.map(\.handle)
    }
    for handle in handles { requester.send(Request.close(handle).encoded(), on: .control) { _ in } }
  }

  func ended() { ending() }

  // MARK: Waiting for the peer

  /// Takes the request as one that is answered later.
  func wait(_ request: consuming FUSERequest, _ kind: PendingRequest.Kind) -> PendingRequest {
    interrupts.add(request, kind)
  }

  func interrupted(_ identifier: UInt64) { interrupts.interrupt(identifier) }

  /// Has the interrupts look after a request whose process may be past signals.
  func watch(_ pending: PendingRequest) { interrupts.interrupt(pending.identifier) }

  private static func endInterrupted(_ pending: PendingRequest) {
    pending.fail(Errno(rawValue: EINTR))
  }

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
    if node.isUnlinked { shown.links = shown.links > 0 ? shown.links - 1 : 0 }
    return shown
  }

  /// The peer's attributes as they show here.
  func shown(_ attributes: Attributes, inode: UInt64) -> FUSEAttributes {
    var shown = FUSEAttributes()
    shown.inode = inode
    shown.mode = attributes.mode & ~options.umask
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

  /// What a reply that names the node says; it counts as a lookup. Under the lock.
  func entry(for node: Node, now: Instant, nameValidity: Double) -> FUSEEntry {
    node.lookups += 1
    return FUSEEntry(
      node: node.id, attributes: shown(node),
      attributeTimeout: node.validity(at: now, timeout: options.attributeTimeout), entryTimeout: nameValidity)
  }

  /// The kernel did not take the reply that named a node.
  func undo(lookupOf node: UInt64) {
    state.withLock { $0.tree.forget(node, count: 1) }
  }

  /// The attributes of other names for the same file have changed with it. Under the lock.
  /// - Returns: the nodes that the kernel is to forget the attributes of.
  func touchLinks(of node: Node, _ state: inout State, now: Instant) -> [UInt64] {
    let others = state.tree.otherLinks(of: node)
    for other in others { other.changed = now }
    return others.map(\.id)
  }

  /// Has the kernel forget attributes, then calls `reply`: whoever asked for a change sees all of it once it is
  /// answered. At once if there is nothing to forget, else on the notifying thread.
  func invalidate(attributesOf nodes: [UInt64], then reply: @escaping @Sendable () -> Void) {
    guard let last = nodes.last, let session else { return reply() }
    for node in nodes.dropLast() { session.invalidate(attributesOf: node) }
    session.invalidate(attributesOf: last, completion: reply)
  }
}

extension FUSEAttributes.Time {
  init(_ time: Timestamp) { self.init(seconds: time.seconds, nanoseconds: time.nanoseconds) }
}
