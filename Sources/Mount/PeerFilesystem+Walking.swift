import P2PFSCore
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Listing ahead: a walk through a tree does not wait for each directory.
///
/// A thread that opens a directory, and then one inside it, walks. From then on the listings of the other
/// directories are asked for before it comes to them, and of those inside these.
extension PeerFilesystem {
  /// A directory is opened by a thread. Under the lock.
  /// - Returns: its node, and whether that is a step of a walk; nil if there is no such node.
  func walk(into id: UInt64, by thread: Int32, _ state: inout State) -> (node: Node, isWalk: Bool)? {
    guard let node = state.tree[id] else { return nil }
    node.walker = thread
    guard let parent = node.parent, node.isWalked else { return (node, false) }
    let now = Instant.now
    let half = options.entryTimeout / 2
    for late in state.ahead.opened(id, at: now, validity: half) { state.tree[late].map { state.tree.collect($0) } }
    expect(directoriesOf: parent, &state)
    if let listing = node.listing {
      expect(directoriesOf: node, &state)
      // It still serves, but it would expire while the walk looks at what is in it.
      if now.seconds(since: listing.asked) > half {
        state.ahead.expect([
          ListingsAhead.Candidate(
            parent: parent.id, name: node.names.last?.bytes ?? [], attributes: node.attributes, asked: node.asked)
        ])
      }
    }
    return (node, true)
  }

  /// Notes the directories in the listing of a directory, once. Under the lock.
  func expect(directoriesOf directory: Node, _ state: inout State) {
    guard let listing = directory.listing, directory.expectedFrom != listing.asked else { return }
    directory.expectedFrom = listing.asked
    let candidates = (0..<listing.places).compactMap { place -> ListingsAhead.Candidate? in
      guard let entry = listing.entry(at: place), let attributes = entry.attributes, attributes.type == .directory
      else { return nil }
      return ListingsAhead.Candidate(
        parent: directory.id, name: entry.name, attributes: attributes, asked: entry.asked)
    }
    if !candidates.isEmpty { state.ahead.expect(candidates) }
  }

  /// Asks for listings ahead, as many as may be.
  func listAhead() {
    while let (fetch, place, isOld) = locked({ nextAhead(&$0) }) {
      ask(fetch, place, cookie: 0)
      // The kernel is going to look the name up, if it has not heard of it for long.
      if isOld { askAhead(fetch.node, place) }
    }
  }

  /// The next listing to ask for ahead, and whether the attributes of the directory are to be asked for as well.
  /// Under the lock.
  private func nextAhead(_ state: inout State) -> (ListingFetch, Place, Bool)? {
    guard requester.isOnline else { return nil }
    let now = Instant.now
    let half = options.entryTimeout / 2
    while let candidate = state.ahead.next() {
      // What was removed or renamed since, or made anew, is left to whoever wants it.
      guard let parent = state.tree[candidate.parent], let entry = parent.listing?[candidate.name],
        entry.attributes.map({ RemoteFile($0) == RemoteFile(candidate.attributes) }) ?? true
      else { continue }
      let node =
        parent.children[candidate.name]
        ?? state.tree.enter(candidate.name, in: parent, candidate.attributes, asked: candidate.asked)
      let isListed = node.listing.map { nameValidity(of: node, $0, now) > half } ?? false
      guard node.isDirectory, node.fetch == nil, node.changing == 0, !isListed,
        let place = try? state.tree.place(of: node)
      else {
        state.tree.collect(node)
        continue
      }
      let fetch = ListingFetch(node: node, handle: requester.newHandle(), asked: now, isAhead: true)
      node.fetch = fetch
      state.ahead.begin(candidate, as: node.id, at: now)
      return (fetch, place, node.validity(at: now, timeout: options.attributeTimeout) < options.attributeTimeout / 2)
    }
    return nil
  }

  /// Asks for the attributes of a directory before anybody wants them.
  private func askAhead(_ node: Node, _ place: Place) {
    let asked = Instant.now
    send(.lookup(.path(place))) { [self] reply in
      guard case .success(let attributes) = PeerFilesystem.attributes(in: reply) else { return }
      locked { state in
        guard state.tree[node.id] === node, RemoteFile(attributes) == node.remote else { return }
        state.tree.learn(attributes, of: node, asked: asked)
      }
    }
  }
}

extension Node {
  /// Whether the thread that opened it last also opened the directory it is in.
  var isWalked: Bool { walker != 0 && parent?.walker == walker }
}
