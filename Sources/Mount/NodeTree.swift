import P2PFSCore
import SystemPackage
import P2PFSWire

/// The files that the kernel knows, with their names. It grows and shrinks with the kernel's own caches.
///
/// A node is a file of the peer (`RemoteFile`), a file has any number of names, a directory one: where it turns up
/// elsewhere it was moved. A directory that claims to be one of those above it is an impostor, and becomes a node
/// that shares nothing with them.
struct NodeTree {
  /// FUSE_ROOT_ID.
  static let rootID: UInt64 = 1

  /// What is to be done when the lock is let go of.
  struct Effects {
    /// Requests for contents that are of no use any more.
    var abandoned: [UInt64] = []
    /// Nodes whose pages the kernel is to forget.
    var stalePages: [UInt64] = []

    var isEmpty: Bool { abandoned.isEmpty && stalePages.isEmpty }
  }

  let root: Node
  /// Where the root is in the peer's export.
  let base: Path
  var effects = Effects()
  private(set) var numbers: InodeNumbers
  private var nodes: [UInt64: Node]
  private var identities: [RemoteFile: Node] = [:]
  private var nextID: UInt64 = 2

  /// A tree of a root only.
  init(base: Path, attributes: Attributes, asked: Instant) {
    self.base = base
    numbers = InodeNumbers(device: attributes.identity.device)
    root = Node(
      id: NodeTree.rootID, inode: numbers.number(attributes.identity), attributes: attributes, asked: asked)
    root.lookups = 1
    nodes = [NodeTree.rootID: root]
    identities = [root.remote: root]
  }

  /// How many nodes there are.
  var count: Int { nodes.count }

  /// Files with writes that are not done.
  var writing: [Node] { nodes.values.filter { !$0.writes.isIdle } }

  /// All that is open, as the peer knows it: what programs have closed waits for its writes.
  var open: [OpenFile] { nodes.values.flatMap(\.files) }

  /// The node that the kernel names; nil if it was forgotten: the kernel's bug or a race.
  subscript(id: UInt64) -> Node? { nodes[id] }

  /// The node of a file of the peer, if the kernel knows it.
  func node(_ remote: RemoteFile) -> Node? { identities[remote] }

  /// The path of a node in the export, by the name that was seen last.
  /// - Throws: ESTALE if it, or a directory above it, has no name any more; ENAMETOOLONG.
  func path(of node: Node) throws(Errno) -> Path {
    var names: [[UInt8]] = []
    var place = node
    while !place.isRoot {
      guard let name = place.names.last, names.count <= Limits.Wire.depth else { throw .staleNFSFileHandle }
      names.append(name.bytes)
      place = name.parent
    }
    guard !names.isEmpty else { return base }
    var bytes = base.bytes
    for name in names.reversed() {
      if !bytes.isEmpty { bytes.append(UInt8(ascii: "/")) }
      bytes += name
    }
    return try Path(bytes)
  }

  /// The path of the entry `name` in a directory.
  func path(of name: [UInt8], in directory: Node) throws(Errno) -> Path {
    try path(of: directory).appending(name)
  }

  /// The entry `name` of a directory, as a request names it: the peer is to look for it in that directory alone. The root
  /// is whatever is exported.
  func place(of name: [UInt8], in directory: Node) throws(Errno) -> Place {
    Place(try path(of: name, in: directory), in: directory.isRoot ? nil : directory.remote.identity)
  }

  /// Where a node is, as a request names it that means this very file.
  func place(of node: Node) throws(Errno) -> Place {
    Place(try path(of: node), file: node.isRoot ? nil : node.remote.identity)
  }

  /// Where a node is, as a request names it that takes whatever has its name in that directory.
  func place(ofNameOf node: Node) throws(Errno) -> Place {
    let directory = node.parent.flatMap { $0.isRoot ? nil : $0.remote.identity }
    return Place(try path(of: node), in: directory)
  }

  /// Whether another directory has turned up in the place of this one, or of one above it.
  func isDisplaced(_ directory: Node) -> Bool {
    var place = directory
    while let parent = place.parent { place = parent }
    return place.isDisplaced
  }

  /// What is known of the way to a file is not believed any more: the kernel's next lookups are to be asked.
  /// - Returns: the directories on the way, whose listings are not to be believed either.
  func doubt(_ file: Node) -> [Node] {
    var directories: [Node] = []
    var place: Node? = file
    while let node = place {
      if !node.isRoot { node.distrust() }
      if node.isDirectory { directories.append(node) }
      place = node.parent
    }
    return directories
  }

  /// How many directories lie between a node and the root.
  func depth(of node: Node) -> Int {
    var depth = 0
    var place = node.parent
    while let parent = place {
      depth += 1
      place = parent.parent
    }
    return depth
  }

  /// Takes the peer's word of a node, with what follows from it.
  mutating func learn(_ attributes: Attributes, of node: Node, asked: Instant) {
    if node.update(attributes, asked: asked) { contentsChanged(of: node) }
  }

  /// The contents of a file are others than those that were read.
  mutating func contentsChanged(of node: Node) {
    effects.abandoned += node.invalidateStreams()
    node.cachedVersion = nil
    guard node.hasPages else { return }
    node.hasPages = false
    effects.stalePages.append(node.id)
  }

  /// The exported directory is another one, or has another number, since the peer's program was started again. Nothing that
  /// was known of what is in it is believed any more.
  /// - Returns: the names that the kernel may know.
  mutating func adopt(root attributes: Attributes, asked: Instant) -> [[UInt8]] {
    if identities[root.remote] === root { identities[root.remote] = nil }
    root.become(attributes, asked: asked)
    identities[root.remote] = root
    numbers = InodeNumbers(device: attributes.identity.device)
    let names = Array(root.children.keys)
    for name in names { displace(name, in: root) }
    return names
  }

  /// Takes the name from the file that has it, which is somewhere else now, or gone.
  mutating func displace(_ name: [UInt8], in directory: Node) {
    if let node = unlink(name, in: directory), node.names.isEmpty { node.isDisplaced = node.isDirectory }
  }

  /// The node of an entry that the peer told of, made if it is new. Where the name now stands for another file,
  /// the one that it stood for loses it.
  mutating func enter(_ name: [UInt8], in directory: Node, _ attributes: Attributes, asked: Instant) -> Node {
    let remote = RemoteFile(attributes)
    if let node = directory.children[name] {
      if node.remote == remote {
        learn(attributes, of: node, asked: asked)
        return node
      }
      displace(name, in: directory)
    }
    let node: Node
    if let known = identities[remote] {
      if known.isDirectory, isAbove(known, directory) {
        node = Node(id: nextID, inode: numbers.number(ofImpostor: nextID), attributes: attributes, asked: asked)
        add(node)
      } else {
        if known.isDirectory, let old = known.names.last { old.parent.children[old.bytes] = nil }
        if known.isDirectory { known.names = [] }
        learn(attributes, of: known, asked: asked)
        node = known
      }
    } else {
      node = Node(id: nextID, inode: numbers.number(remote.identity), attributes: attributes, asked: asked)
      add(node)
      identities[remote] = node
    }
    give(node, name, in: directory)
    return node
  }

  /// Takes the name from the file that has it.
  /// - Returns: the node that has lost it.
  @discardableResult
  mutating func unlink(_ name: [UInt8], in directory: Node) -> Node? {
    guard let node = directory.children.removeValue(forKey: name) else { return nil }
    node.names.removeAll { $0.parent === directory && $0.bytes == name }
    collect(node)
    return node
  }

  /// Gives the file of one name another, with all that is beneath it. What was there loses its name.
  mutating func move(_ name: [UInt8], in directory: Node, to newName: [UInt8], in newDirectory: Node) {
    guard directory !== newDirectory || name != newName else { return }
    unlink(newName, in: newDirectory)
    guard let node = directory.children.removeValue(forKey: name) else { return }
    node.names.removeAll { $0.parent === directory && $0.bytes == name }
    give(node, newName, in: newDirectory)
  }

  /// Exchanges the files of two names.
  mutating func exchange(_ name: [UInt8], in directory: Node, with other: [UInt8], in otherDirectory: Node) {
    let first = directory.children.removeValue(forKey: name)
    let second = otherDirectory.children.removeValue(forKey: other)
    first?.names.removeAll { $0.parent === directory && $0.bytes == name }
    second?.names.removeAll { $0.parent === otherDirectory && $0.bytes == other }
    if let first { give(first, other, in: otherDirectory) }
    if let second { give(second, name, in: directory) }
  }

  /// The kernel has forgotten that it was told of a node, `count` times.
  mutating func forget(_ id: UInt64, count: UInt64) {
    guard let node = nodes[id], !node.isRoot else { return }
    node.lookups -= min(count, node.lookups)
    collect(node)
  }

  /// Lets go of everything: nodes hold each other.
  mutating func dismantle() {
    for node in nodes.values {
      node.children = [:]
      node.names = []
      node.files = []
      node.fetch = nil
    }
    nodes = [:]
    identities = [:]
  }

  /// Removes a node that nobody knows any more, and the directories that were only held by it.
  mutating func collect(_ node: Node) {
    var left = [node]
    while let node = left.popLast() {
      guard !node.isRoot, node.lookups == 0, node.children.isEmpty, node.files.isEmpty, node.writes.isIdle,
        nodes[node.id] != nil
      else { continue }
      nodes[node.id] = nil
      if identities[node.remote] === node { identities[node.remote] = nil }
      for name in node.names where name.parent.children[name.bytes] === node {
        name.parent.children[name.bytes] = nil
        left.append(name.parent)
      }
      node.names = []
    }
  }

  // MARK: Parts

  private mutating func add(_ node: Node) {
    nodes[node.id] = node
    nextID += 1
  }

  private func give(_ node: Node, _ name: [UInt8], in directory: Node) {
    node.isDisplaced = false
    node.names.append(Node.Name(parent: directory, bytes: name, toldUntil: Instant(nanoseconds: 0)))
    directory.children[name] = node
  }

  /// Whether `node` is `directory`, or one of those above it.
  private func isAbove(_ node: Node, _ directory: Node) -> Bool {
    var place: Node? = directory
    while let here = place {
      if here === node { return true }
      place = here.parent
    }
    return false
  }
}
