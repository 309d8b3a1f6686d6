import P2PFSCore
import P2PFSFUSE
import P2PFSSession
import SystemPackage
import P2PFSWire

/// statfs.
extension PeerFilesystem {
  func statfs(_ request: consuming FUSERequest, node id: UInt64) {
    let now = Instant.now
    let found = locked { state -> (known: FUSEStatistics?, device: UInt64, path: Path) in
      let node = state.tree[id] ?? state.tree.root
      let device = node.remote.identity.device
      if let (values, asked) = state.statistics[device], now.seconds(since: asked) < Limits.Mount.statisticsValidity {
        return (values, device, .root)
      }
      return (nil, device, (try? state.tree.path(of: node)) ?? state.tree.base)
    }
    if let known = found.known { return _ = request.reply(statistics: known) }
    let pending = wait(request)
    send(.statfs(found.path)) { [self] reply in
      guard let request = pending.take() else { return }
      if let error = reply.error { return _ = request.fail(error) }
      guard let values = try? reply.statistics() else { return _ = request.fail(.ioError) }
      let statistics = FUSEStatistics(values)
      locked { state in
        if state.statistics.count >= Limits.Mount.filesystems { state.statistics = [:] }
        state.statistics[found.device] = (statistics, now)
      }
      request.reply(statistics: statistics)
    }
  }
}

extension FUSEStatistics {
  init(_ values: FilesystemStatistics) {
    self.init()
    blockSize = values.blockSize
    fragmentSize = values.fragmentSize
    blocks = values.blocks
    freeBlocks = values.freeBlocks
    availableBlocks = values.availableBlocks
    files = values.files
    freeFiles = values.freeFiles
    nameLength = min(values.nameLength, 255)
  }
}
