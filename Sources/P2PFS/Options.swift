import P2PFSMeeting
import P2PFSCore
import P2PFSExport
import Glibc
import SystemPackage

/// A directory to share with the other computer, which reads it with `Peer.files` or mounts it with `p2pfs mount`.
///
/// It reaches what is in the directory and nothing else: symbolic links are never followed, devices never opened.
public struct SharedDirectory: Sendable, Hashable {
  /// Its path.
  public var path: String
  /// Whether every change is refused.
  public var isReadOnly: Bool

  /// A directory that the other computer can read.
  public static func readOnly(_ path: String) -> SharedDirectory { .init(path: path, isReadOnly: true) }

  /// A directory that the other computer can read and change.
  public static func readWrite(_ path: String) -> SharedDirectory { .init(path: path, isReadOnly: false) }

  /// Opens it.
  func open() throws(PeerError) -> Share {
    do {
      return try Share(FilePath(path), barring: StateDirectory.own, readOnly: isReadOnly)
    } catch {
      throw PeerError(error, path: path)
    }
  }
}

extension Peer {
  /// How to meet another computer, and what to offer it.
  public struct Options: Sendable {
    /// The signaling server, as `host[:port]` or a `ws://` or `wss://` URL, in place of the one that the code names.
    /// A host without one starts a server of its own, enough for two computers in one network.
    public var server: String?
    /// How long the other computer may be away before it is given up, and what waits for it fails: from a second to a day.
    /// Each side counts its own time, while it is not suspended itself. A guest that comes back later needs the code.
    public var timeout: Duration = .seconds(Int64(Limits.Session.timeout))
    /// A directory to share with it.
    public var share: SharedDirectory?
    /// Whether `Peer.connect` waits for a host that is not there yet, until its task is cancelled. A `Host` always waits.
    public var waits = false

    /// The defaults: the code's server, half a minute, nothing shared, and no wait.
    public init() {}

    /// The timeout in seconds, within its bounds.
    var timeoutSeconds: Double {
      let (seconds, attoseconds) = timeout.components
      return min(max(Double(seconds) + Double(attoseconds) / 1e18, 1), 86_400)
    }

    /// The signaling server that was given.
    func serverAddress() throws(PeerError) -> ServerAddress? {
      guard let server else { return nil }
      do { return try ServerAddress(parsing: server) } catch { throw PeerError(.invalidArgument, "\(error)") }
    }
  }
}
