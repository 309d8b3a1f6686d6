/// Every bound on what the outside can make p2pfs hold, wait for or do, with its reason.
///
/// One namespace a layer. Sizes are in bytes, times in seconds, unless the name says otherwise.
package enum Limits {
  /// The RPC: messages, names and what may be in flight.
  package enum Wire {
    /// Largest message. aiortc and older browsers take no more than 64 KiB in one data channel message.
    package static let message = 65_535
    /// Largest piece of file contents in one message: a power of two, so that pieces tile the kernel's
    /// 128 KiB reads, with room for the header below `message`.
    package static let data = 32_768
    /// Longest component of a path: NAME_MAX of Linux.
    package static let name = 255
    /// Longest path: PATH_MAX of Linux less the terminating NUL.
    package static let path = 4_095
    /// Deepest path, so that no walk of ours is longer than what a path of `path` bytes can hold.
    package static let depth = 2_048
    /// Longest target of a symbolic link: PATH_MAX of Linux less the terminating NUL.
    package static let linkTarget = 4_095
    /// Most bytes one read request may ask for: the kernel's largest FUSE read.
    package static let read = 1_048_576
    /// Largest offset or size of a file: OFFSET_MAX, so that no sum of two can overflow an Int64.
    package static let fileSize: Int64 = Int64.max - 1_048_576
    /// Most bytes of listing that one list request is answered with, before the client asks on.
    package static let listing = 524_288
  }

  /// One relation with one peer.
  package enum Session {
    /// Requests without an answer that one side may have at the other. More is a violation of the
    /// protocol and ends the connection. Bounds the exporter's queue and reply cache.
    package static let requests = 1_024
    /// Bytes of file contents that may wait in the exporter for the disk, granted per session from `writePool`.
    package static let writeCredit = 4_194_304
    /// The least write credit, when many guests share the pool: eight messages.
    package static let leastWriteCredit = 262_144
    /// All write credits of one exporter together: half of its memory budget of 64 MB.
    package static let writePool = 33_554_432
    /// Bytes of answers queued for one peer above which its further requests wait.
    package static let backlog = 2_097_152
    /// Guests of one exporter at the same time: times `backlog`, the other half of the memory budget.
    package static let guests = 16
    /// A silent peer is asked for a sign of life after this time, and again until `vanished`.
    package static let heartbeat = 2.0
    /// A connection without one authenticated packet for this long is given up and made again.
    package static let vanished = 8.0
    /// Default of `-o timeout=`: without the peer for this long, operations fail.
    package static let timeout = 30.0
    /// A session unseen for this long is dropped by the exporter.
    package static let expiry = 86_400.0
  }

  /// ICE, DTLS, SCTP and data channels.
  package enum Transport {
  }

  /// Codes and the handshake.
  package enum Pairing {
  }

  /// The signaling server and its clients.
  package enum Signaling {
  }

  /// Serving a directory.
  package enum Export {
  }

  /// The mounted filesystem.
  package enum Mount {
    /// Furthest that one open file is read ahead: more than 200 Mbit/s times 300 ms.
    package static let readAhead = 8_388_608
    /// What is asked for at once when reading ahead: eight pieces, so that few requests cover a long link.
    package static let readAheadChunk = 262_144
    /// All that is read ahead, or on its way, for one mount: the larger part of its memory budget of 64 MB.
    package static let readAheadTotal = 25_165_824
    /// Contents that come along with the answer to an open: what the kernel reads first of any file.
    package static let prefetch = 131_072
    /// Writes without an answer, besides the peer's credit in bytes: leaves half of the requests that a session
    /// may have under way to everything else.
    package static let writes = 512
    /// Bytes of writes without an answer, besides the peer's credit: one mount's share of its memory budget.
    package static let writeBehind = 16_777_216
    /// Most entries of a directory that is listed at all: bounds what a listing without end can take, at about
    /// 150 bytes an entry.
    package static let listing = 300_000
    /// Entries of all cached listings together: about 20 MB.
    package static let cachedEntries = 131_072
    /// Pages of a listing in a row without a new entry before it counts as endless.
    package static let emptyPages = 64
    /// How long attributes and names are believed when no option says otherwise.
    package static let validity = 10.0
    /// How long the answer to statfs is believed: df and file managers ask in bursts.
    package static let statisticsValidity = 1.0
    /// How long an interrupted read still waits for its data.
    package static let interrupt = 0.3
  }
}
