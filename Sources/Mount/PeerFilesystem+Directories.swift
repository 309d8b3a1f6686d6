import P2PFSCore
import DequeModule
import P2PFSFUSE
import Glibc
import Logging
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

/// Directories and their listings.
extension PeerFilesystem {
  func opendir(_ request: consuming FUSERequest, node id: UInt64) {
    let process = request.process
    guard let (node, isWalk) = locked({ walk(into: id, by: process, &$0) }) else {
      return _ = request.fail(.staleNFSFileHandle)
    }
    let pending = wait(request)
    list(node) { [self] result in
      guard let request = pending.take() else { return }
      switch result {
      // The kernel looks the name of a directory that is gone up again.
      case .failure(.noSuchFileOrDirectory): request.fail(.staleNFSFileHandle)
      case .failure(let error): request.fail(afterTimeout(error))
      case .success(let listing):
        let handle = locked { state -> UInt64 in
          let handle = state.nextDirectory
          state.nextDirectory += 1
          let directory = OpenDirectory(node)
          directory.listing = listing
          state.directories[handle] = directory
          return handle
        }
        if !request.reply(opened: FUSEOpenFile(handle: handle)) {
          locked { _ = $0.directories.removeValue(forKey: handle) }
        }
      }
    }
    // After the directory itself has been asked for.
    if isWalk { listAhead() }
  }

  func releasedir(_ request: consuming FUSERequest, node: UInt64, handle: UInt64) {
    locked { _ = $0.directories.removeValue(forKey: handle) }
    request.succeed()
  }

  func fsyncdir(_ request: consuming FUSERequest, node id: UInt64, handle: UInt64, dataOnly: Bool) {
    let found = locked { state -> Result<Place, Errno> in
      guard let node = state.tree[id] else { return .failure(.staleNFSFileHandle) }
      do throws(Errno) {
        return .success(try state.tree.place(of: node))
      } catch {
        return .failure(error)
      }
    }
    switch found {
    case .failure(let error): request.fail(error)
    case .success(let place): sync(place, id, dataOnly: dataOnly, wait(request), tries: 3)
    }
  }

  /// Syncs a directory, which has no handle at the peer while nobody lists it. One that was opened for this alone is not
  /// opened again when the peer's program is started again: then it is all done once more.
  private func sync(_ place: Place, _ id: UInt64, dataOnly: Bool, _ pending: PendingRequest, tries: Int) {
    let handle = requester.newHandle()
    send(.open(handle, .path(place), .read, prefetch: 0)) { [self] reply in
      guard reply.isLast else { return }
      if let error = reply.error {
        // An exporter that opens no directories has nothing to sync either.
        if error == .isDirectory {
          if let request = pending.take() { request.succeed() }
        } else {
          pending.fail(error)
        }
        return
      }
      send(.fsync(handle, dataOnly: dataOnly)) { [self] reply in
        if reply.error == .badFileDescriptor, tries > 1 {
          return sync(place, id, dataOnly: dataOnly, pending, tries: tries - 1)
        }
        send(.close(handle)) { _ in }
        if let error = reply.error { return pending.fail(error) }
        locked { state in
          if let node = state.tree[id] { state.unsynced.synced(node) }
        }
        if let request = pending.take() { request.succeed() }
      }
    }
  }

  func readdir(
    _ request: consuming FUSERequest, node: UInt64, handle: UInt64, offset: Int64, count: Int, plus: Bool
  ) {
    let (directory, listing) = locked { state -> (OpenDirectory?, CachedListing?) in
      guard let directory = state.directories[handle] else { return (nil, nil) }
      // At the start it shows what is there now: also what was made since it was opened (rewinddir(3)).
      if offset == 0 {
        let node = directory.node
        let isNews = directory.listing.map { !node.isQuiet(since: $0.asked) } ?? true
        if directory.isUsed || isNews { return (directory, nil) }
      }
      directory.isUsed = true
      return (directory, directory.listing)
    }
    guard let directory else { return _ = request.fail(.badFileDescriptor) }
    if let listing { return answer(request, directory, listing, offset, count, plus) }
    let pending = wait(request)
    list(directory.node) { [self] result in
      guard let request = pending.take() else { return }
      switch result {
      case .failure(let error): request.fail(error)
      case .success(let listing):
        locked { _ in
          directory.listing = listing
          directory.isUsed = true
        }
        answer(request, directory, listing, offset, count, plus)
      }
    }
  }

  /// Answers a readdir from a listing. Offset 0 is `.`, 1 is `..`, the entries follow.
  private func answer(
    _ request: consuming FUSERequest, _ directory: OpenDirectory, _ listing: CachedListing, _ offset: Int64,
    _ count: Int, _ plus: Bool
  ) {
    var buffer = DirectoryBuffer(capacity: min(count, 1_048_576))
    var told: [UInt64] = []
    let node = directory.node
    let now = Instant.now
    var place = Int(clamping: max(offset, 0))
    while place < listing.places + 2 {
      let next = Int64(place + 1)
      let name: [UInt8]
      var entry: FUSEEntry
      if place < 2 {
        name = place == 0 ? [46] : [46, 46]
        var attributes = FUSEAttributes()
        attributes.mode = S_IFDIR
        attributes.inode = place == 0 ? node.inode : locked { _ in node.parent?.inode ?? node.inode }
        entry = FUSEEntry(node: 0, attributes: attributes, attributeTimeout: 0, entryTimeout: 0)
      } else if let listed = listing.entry(at: place - 2) {
        name = listed.name
        entry = locked { self.entry(for: listed, of: listing, in: node, now, plus: plus, &$0) }
        if entry.node != 0 { told.append(entry.node) }
      } else {
        place += 1
        continue
      }
      let string = name.map(CChar.init(bitPattern:)) + [0]
      let fits =
        plus
        ? buffer.append(string, entry, next: next, for: request)
        : buffer.append(string, entry.attributes, next: next, for: request)
      guard fits else {
        if plus, entry.node != 0 {
          undo(lookupOf: entry.node)
          told.removeLast()
        }
        break
      }
      place += 1
    }
    if !request.reply(bytes: buffer.bytes) {
      for node in told { undo(lookupOf: node) }
    }
  }

  /// What an entry of a listing says now: with attributes and a node only if both are certain, so that nothing
  /// comes back which we have removed since. Under the lock.
  private func entry(
    for listed: CachedListing.Entry, of listing: CachedListing, in directory: Node, _ now: Instant, plus: Bool,
    _ state: inout State
  ) -> FUSEEntry {
    let known = directory.children[listed.name]
    var bare = FUSEAttributes()
    bare.mode = known.map { $0.attributes.mode & S_IFMT } ?? listed.type?.rawValue ?? 0
    bare.inode =
      known?.inode ?? listed.attributes.map { state.tree.numbers.number($0.identity) }
      ?? (listed.identity == 0 ? 2 : listed.identity)
    let nothing = FUSEEntry(node: 0, attributes: bare, attributeTimeout: 0, entryTimeout: 0)
    guard plus, !directory.isUnlinked, let cached = directory.listing, let current = cached[listed.name] else {
      return nothing
    }
    let validity = nameValidity(of: directory, cached, now)
    guard validity > 0 else { return nothing }
    if let known, known.validity(at: now, timeout: options.attributeTimeout) > 0 {
      return entry(for: known, as: listed.name, in: directory, now: now, nameValidity: validity)
    }
    guard let attributes = current.attributes, now.seconds(since: current.asked) < options.attributeTimeout,
      known.map({ $0.isQuiet(since: current.asked) }) ?? true, state.believes(attributes, asked: current.asked)
    else { return nothing }
    let node = state.tree.enter(listed.name, in: directory, attributes, asked: current.asked)
    return entry(for: node, as: listed.name, in: directory, now: now, nameValidity: validity)
  }

  // MARK: Listings

  /// Gives the complete listing of a directory: at once if it is known, else when the peer has told it.
  func list(_ node: Node, _ completion: @escaping @Sendable (Result<CachedListing, Errno>) -> Void) {
    enum Step {
      case known(CachedListing)
      case wait
      case ask(ListingFetch, Place)
      case fail(Errno)
    }
    let now = Instant.now
    let step = locked { state -> Step in
      if let listing = node.listing, nameValidity(of: node, listing, now) > 0 { return .known(listing) }
      // One that was asked for before our last change may lack it.
      if let fetch = node.fetch, node.isQuiet(since: fetch.listing.asked) {
        fetch.waiters.append(completion)
        return .wait
      }
      // A directory that was removed while it is in use is empty.
      if node.isUnlinked, !node.isDisplaced { return .known(CachedListing(asked: now)) }
      do throws(Errno) {
        let place = try state.tree.place(of: node)
        let fetch = ListingFetch(node: node, handle: requester.newHandle(), asked: now)
        fetch.waiters.append(completion)
        node.fetch = fetch
        return .ask(fetch, place)
      } catch {
        return .fail(error)
      }
    }
    switch step {
    case .known(let listing): completion(.success(listing))
    case .wait: break
    case .fail(let error): completion(.failure(error))
    case .ask(let fetch, let place): ask(fetch, place, cookie: 0)
    }
  }

  /// Asks for a page of a listing, and then for the next ones.
  func ask(_ fetch: ListingFetch, _ place: Place, cookie: UInt64) {
    send(.list(fetch.handle, place, cookie: cookie)) { [self] reply in
      let waiters = locked { state -> [@Sendable (Result<CachedListing, Errno>) -> Void]? in
        take(reply, fetch)
        guard reply.isLast else { return nil }
        // Long ones come when somebody wants them.
        if fetch.isAhead, !fetch.isEnd, fetch.waiters.isEmpty { fetch.error = fetch.error ?? .canceled }
        if fetch.error == nil, !fetch.isEnd { return [] }
        if fetch.node.fetch === fetch { fetch.node.fetch = nil }
        let node = fetch.node
        if fetch.error == .staleNFSFileHandle {
          for directory in state.tree.doubt(node) { directory.dropListing(&state) }
        }
        if fetch.error == nil, node.isQuiet(since: fetch.listing.asked), !node.isUnlinked,
          state.tree[node.id] === node
        {
          cache(fetch.listing, of: node, &state)
          state.ahead.received(node.id, entries: fetch.listing.count)
          if fetch.isAhead || node.isWalked { expect(directoriesOf: node, &state) }
        }
        defer { fetch.waiters = [] }
        return fetch.waiters
      }
      guard let waiters else { return }
      let (error, isEnd, next, listing) = locked { _ in
        (fetch.error, fetch.isEnd, fetch.next, fetch.listing)
      }
      if error == nil, !isEnd { return ask(fetch, place, cookie: next) }
      if error != nil, !isEnd { send(.close(fetch.handle)) { _ in } }
      for waiter in waiters { waiter(error.map { .failure($0) } ?? .success(listing)) }
      if error == nil { listAhead() }
    }
  }

  /// Adds a page to a listing that is on its way. The peer's names are checked one by one. Under the lock.
  private func take(_ reply: Reply, _ fetch: ListingFetch) {
    guard fetch.error == nil else { return }
    if let error = reply.error {
      fetch.error = error
      return
    }
    guard let page = try? reply.listing() else {
      fetch.error = .ioError
      return
    }
    let before = fetch.listing.count
    for entry in page.entries {
      do throws(Errno) {
        try Path.check(component: entry.name)
      } catch {
        log.warning("the peer lists a name that cannot be, which is left out")
        continue
      }
      _ = fetch.listing.append(entry.name, entry.attributes)
    }
    fetch.next = page.next
    fetch.isEnd = fetch.isEnd || page.isEnd
    fetch.emptyPages = fetch.listing.count == before ? fetch.emptyPages + 1 : 0
    if fetch.listing.count > Limits.Mount.listing || fetch.listing.nameBytes > Limits.Mount.listingNames {
      log.warning("a directory with more than \(Limits.Mount.listing) entries is not listed")
      fetch.error = Errno(rawValue: EOVERFLOW)
    } else if fetch.emptyPages > Limits.Mount.emptyPages {
      log.warning("the peer lists a directory without an end")
      fetch.error = .ioError
    }
  }

  /// Keeps a listing, at the cost of the oldest ones. Under the lock.
  func cache(_ listing: CachedListing, of node: Node, _ state: inout State) {
    node.dropListing(&state)
    guard listing.places <= Limits.Mount.cachedEntries else { return }
    node.listing = listing
    state.listed.append(node.id)
    state.cachedEntries += listing.count + 1
    while state.cachedEntries > Limits.Mount.cachedEntries || state.listed.count > Limits.Mount.cachedEntries / 8,
      let oldest = state.listed.popFirst()
    {
      // Those that were dropped or forgotten since are counted out here.
      guard let node = state.tree[oldest], let listing = node.listing else { continue }
      state.cachedEntries -= min(state.cachedEntries, listing.count + 1)
      node.listing = nil
    }
    if state.listed.isEmpty { state.cachedEntries = 0 }
  }
}

extension Node {
  /// What names the directory has is not known any more.
  func dropListing(_ state: inout PeerFilesystem.State) {
    guard let listing else { return }
    state.cachedEntries -= min(state.cachedEntries, listing.count + 1)
    self.listing = nil
  }
}
