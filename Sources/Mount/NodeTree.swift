import Core
import SystemPackage
import Wire

/// The files that the kernel knows, as a tree of names. It grows and shrinks with the kernel's own caches.
struct NodeTree {
  /// FUSE_ROOT_ID.
  static let rootID: UInt64 = 1

  let root: Node
  /// Where the root is in the peer's export.
  let base: Path
  private var nodes: [UInt64: Node]
  private var nextID: UInt64 = 2
  private var inodes: InodeMap
  /// Nodes that may be links to one file.
  private var links: [RemoteFile: [Node]] = [:]

  /// A tree of a root only.
  /// - Parameter seed: makes the inode numbers unpredictable for the peer.
  init(base: Path, attributes: Attributes, asked: Instant, seed: UInt64) {
    self.base = base
    inodes = InodeMap(seed: seed)
    root = Node(id: NodeTree.rootID, inode: 1, parent: nil, name: [], attributes: attributes, asked: asked)
    root.lookups = 1
    nodes = [NodeTree.rootID: root]
  }

  /// How many nodes there are.
  var count: Int { nodes.count }

  /// Files with writes that are not done.
  var writing: [Node] { nodes.values.filter { !$0.writes.isIdle } }

  /// All that is open, as the peer knows it: what programs have closed waits for its writes.
  var open: [OpenFile] { nodes.values.flatMap(\.files) }

  /// The node that the kernel names; nil if it was forgotten: the kernel's bug or a race.
  subscript(id: UInt64) -> Node? { nodes[id] }

  /// The path of a node in the export.
  /// - Throws: ESTALE if it, or a directory above it, has no name any more; ENAMETOOLONG.
  func path(of node: Node) throws(Errno) -> Path {
    var names: [[UInt8]] = []
    var place = node
    while !place.isRoot {
      guard let parent = place.parent else { throw .staleNFSFileHandle }
      names.append(place.name)
      place = parent
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

  /// The node of an entry that the peer told of, made if it is new. Where the name now stands for another file,
  /// the node that it stood for is unlinked.
  mutating func enter(_ name: [UInt8], in directory: Node, _ attributes: Attributes, asked: Instant) -> Node {
    if let node = directory.children[name] {
      if node.remote == RemoteFile(attributes) {
        node.update(attributes, asked: asked)
        noteLinks(of: node)
        return node
      }
      unlink(name, in: directory)
    }
    let remote = RemoteFile(attributes)
    let node = Node(
      id: nextID, inode: inodes.number(remote, node: nextID), parent: directory, name: name, attributes: attributes,
      asked: asked)
    nextID += 1
    nodes[node.id] = node
    directory.children[name] = node
    noteLinks(of: node)
    return node
  }

  /// The `st_ino` that a file without a node is going to show.
  func number(_ remote: RemoteFile) -> UInt64 { inodes.number(remote) }

  /// Other names for the file of `node`, as far as the peer can be believed.
  func otherLinks(of node: Node) -> [Node] {
    links[node.remote]?.filter { $0 !== node } ?? []
  }

  /// Notes that the attributes of `node` may say that it has other names.
  mutating func noteLinks(of node: Node) {
    guard node.attributes.links > 1, !node.isDirectory else { return }
    if links[node.remote]?.contains(where: { $0 === node }) != true { links[node.remote, default: []].append(node) }
  }

  /// Takes the name from whatever has it.
  /// - Returns: the node that has lost its name.
  @discardableResult
  mutating func unlink(_ name: [UInt8], in directory: Node) -> Node? {
    guard let node = directory.children.removeValue(forKey: name) else { return nil }
    node.parent = nil
    collect(node)
    return node
  }

  /// Gives what is at one name another, with all that is beneath it. What was there loses its name.
  mutating func move(_ name: [UInt8], in directory: Node, to newName: [UInt8], in newDirectory: Node) {
    guard directory !== newDirectory || name != newName else { return }
    unlink(newName, in: newDirectory)
    guard let node = directory.children.removeValue(forKey: name) else { return }
    node.parent = newDirectory
    node.name = newName
    newDirectory.children[newName] = node
  }

  /// Exchanges what is at two names.
  mutating func exchange(_ name: [UInt8], in directory: Node, with other: [UInt8], in otherDirectory: Node) {
    let first = directory.children.removeValue(forKey: name)
    let second = otherDirectory.children.removeValue(forKey: other)
    if let first {
      first.parent = otherDirectory
      first.name = other
      otherDirectory.children[other] = first
    }
    if let second {
      second.parent = directory
      second.name = name
      directory.children[name] = second
    }
  }

  /// The kernel was told of a node, or has forgotten that it was, `count` times.
  mutating func forget(_ id: UInt64, count: UInt64) {
    guard let node = nodes[id], !node.isRoot else { return }
    node.lookups -= min(count, node.lookups)
    collect(node)
  }

  /// Lets go of everything: nodes hold each other.
  mutating func dismantle() {
    for node in nodes.values {
      node.children = [:]
      node.parent = nil
      node.files = []
      node.fetch = nil
    }
    nodes = [:]
    links = [:]
  }

  /// Removes a node that nobody knows any more, and the directories that were only held by it.
  mutating func collect(_ node: Node) {
    var next: Node? = node
    while let node = next, !node.isRoot, node.lookups == 0, node.children.isEmpty, node.files.isEmpty,
      node.writes.isIdle, nodes[node.id] != nil
    {
      next = node.parent
      nodes[node.id] = nil
      inodes.release(node.inode, node: node.id)
      if var others = links[node.remote] {
        others.removeAll { $0 === node }
        links[node.remote] = others.isEmpty ? nil : others
      }
      if node.parent?.children[node.name] === node { node.parent?.children[node.name] = nil }
      node.parent = nil
    }
  }
}
