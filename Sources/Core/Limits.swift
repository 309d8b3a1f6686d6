/// Every limit on memory, time and work that peers, servers and users can make p2pfs spend, with its reason.
///
/// One namespace per layer. Sizes are in bytes and times in seconds, unless the name says otherwise.
package enum Limits {
  /// The RPC: messages, names and amounts in flight.
  package enum Wire {
    /// Largest message. aiortc and older browsers accept no more than 64 KiB in one data channel message.
    package static let message = 65_535
    /// Largest piece of file contents in one message: a power of two, so that pieces tile the kernel's
    /// 128 KiB reads, with room for the header below `message`.
    package static let data = 32_768
    /// Longest component of a path: NAME_MAX of Linux.
    package static let name = 255
    /// Longest path. A tree may be deeper than PATH_MAX; the exporter resolves such a path in parts of `pathPart`. A
    /// message has room for two of the longest.
    package static let path = 31_999
    /// Longest part of a path that one system call resolves: PATH_MAX of Linux less the terminating NUL.
    package static let pathPart = 4_095
    /// Deepest path: the most components that `path` bytes can hold.
    package static let depth = 16_000
    /// Longest target of a symbolic link: PATH_MAX of Linux less the terminating NUL.
    package static let linkTarget = 4_095
    /// Most bytes of one read request: the kernel's largest FUSE read.
    package static let read = 1_048_576
    /// Most bytes that are appended as a whole: twice the kernel's largest FUSE write, so that a write that the kernel
    /// splits at a page boundary is one append; and no more than the least write credit of 16 guests together.
    package static let append = 2_097_152
    /// Largest offset or size of a file, 4 EiB: half of OFFSET_MAX of Linux, so that the sum of two fits an Int64.
    package static let fileSize: Int64 = Int64.max / 2
    /// Most bytes of the answer to one list request; the client then requests the next page.
    package static let listing = 524_288
  }

  /// The relation of two peers.
  package enum Session {
    /// Unanswered requests of one side. More is a violation of the protocol and ends the connection. Bounds the
    /// exporter's queue and reply cache.
    package static let requests = 1_024
    /// Requests among them that are reserved for the recovery after a restart of the peer's program: 64 files are
    /// opened again per round trip.
    package static let recovery = 64
    /// Bytes of unanswered requests of one side, without the data of writes and with `requestCost` added for each: the
    /// largest number of requests with 250 bytes each, or fewer with long paths. The client waits for room; more is a
    /// violation of the protocol and ends the connection.
    package static let requestBytes = 524_288
    /// Memory of a request besides its message: objects of the session and of the workers' queue.
    package static let requestCost = 256
    /// Bytes of file contents that may wait in the exporter for the disk, granted per session from `writePool`.
    package static let writeCredit = 4_194_304
    /// Least write credit, when many guests share the pool: eight messages. An append larger than the credit is split.
    package static let leastWriteCredit = 262_144
    /// All write credits of one exporter together, except for the least ones.
    package static let writePool = 10_485_760
    /// Bytes of answers queued for one peer above which its further requests wait, granted per session from
    /// `backlogPool`.
    package static let backlog = 2_097_152
    /// Least backlog, when many guests share the pool: eight pieces.
    package static let leastBacklog = 262_144
    /// All backlogs of one exporter together, except for the least ones and for one long answer to each guest, which
    /// may exceed them.
    package static let backlogPool = 4_194_304
    /// Bytes of short answers queued for one peer in addition to `backlog`. Bulk replies are throttled by the backlog;
    /// this bound stops a peer that sends small requests and reads no answers. 256 bytes for each unanswered request.
    package static let shortAnswers = 262_144
    /// Memory of the reply that the exporter keeps in each slot: a header, attributes, the objects.
    package static let keptAnswer = 256
    /// Guests of one exporter at a time.
    package static let guests = 16
    /// A connection without an authenticated packet for this long is closed and made again.
    package static let vanished = 8.0
    /// The least value of `vanished` with a shorter timeout: three ticks, and the round trip of a slow link.
    package static let leastVanished = 3.0
    /// The fraction of `vanished` after which a silent peer is pinged, once a second until the end of that time.
    package static let heartbeat = 0.25
    /// Silence, or one round trip if that is longer, after which the peer is pinged while something is in progress;
    /// also the least time for its answer.
    package static let quiet = 0.5
    /// Silence, or two round trips if that is longer, with an unanswered ping, after which another connection is made
    /// beside the old one: a program should stall for three seconds at most, and meeting again takes one.
    package static let leastDoubt = 1.0
    /// How long a session counts as busy after the last request, answer or piece of a channel.
    package static let busy = 5.0
    /// Time, or two round trips if that is longer, for the peer's answer after the network has changed, before another
    /// connection is made.
    package static let headStart = 0.2
    /// The ticks in which time is counted, while busy and otherwise.
    package static let shortTick = 0.2
    package static let tick = 1.0
    /// Default of `-o timeout=`: operations fail after this time without the peer.
    package static let timeout = 30.0
    /// ICE servers accepted from a signaling server: a peer asks each of them for its address.
    package static let iceServers = 8
    /// Timeout of the handshake through the signaling server: six messages over a slow link.
    package static let handshake = 15.0
    /// Messages and candidates queued while two peers meet: more than the candidates of both sides.
    package static let meetingEvents = 256
    /// Guests in the middle of a handshake at a time; others are refused.
    package static let meetings = 32
    /// Timeout of a guest's first message: a client sends it at once.
    package static let firstWord = 5.0
    /// Bytes that one guest may send while it meets its host: a session description, normally below 10 KiB, and
    /// candidates. A guest that sends more is refused.
    package static let meetingBytes = 131_072
    /// Seconds of waiting after which a user on a terminal is told what is being tried.
    package static let notice = 3.0
    /// Timeout of the peer's hello on a new connection: one round trip over a slow link.
    package static let greeting = 10.0
    /// Longest time between the starts of two attempts to reach the signaling server or the peer again.
    package static let longestBackoff = 5.0
    /// The same while the server cannot be reached at all, which costs it nothing: for this many attempts, and after
    /// them.
    package static let redial = 0.7
    package static let redials = 90
    package static let laterRedial = 2.0
    /// The same when the other side went away just after it was met, or while it was being met: for so many tries, and
    /// later. One that is killed every two seconds is found in each of its lives; and a minute's joins stay below what a
    /// signaling server takes from one address.
    package static let `return` = 1.0
    package static let returns = 30
    package static let laterReturn = 2.0
    /// Time for one attempt to make a connection again, once the exporter is there: for the first attempt, doubling up
    /// to `handshake` and `Transport.connecting`. The network may have changed since the attempt began.
    package static let firstPatience = 4.0
    /// After a doubted connection turned out to be alive, no other one is made for silence alone within this time, so
    /// that a link that stalls now and then does not load the server.
    package static let falseAlarm = 3.0
    /// Seconds for which an export waits for the previous one of the same directory to end, as when it is restarted.
    package static let succession = 2.0
    /// Seconds from when a computer has its first address until a name that is not known, or a server that is not reached,
    /// counts as a mistake: routes, DNS and Wi-Fi come one after the other.
    package static let settling = 30.0
    /// Remembered exports whose ports are looked at before one is chosen: more than a user has folders to share.
    package static let savedExports = 1_024
    /// A session is dropped by the exporter after this time without its guest.
    package static let expiry = 86_400.0
    /// Seconds after which the exporter closes the open files and locks of a guest that is away, in favor of others:
    /// for the guest this is like a restart of the exporter. Operations fail long before (`timeout`), and a suspended
    /// laptop returns to its open files within this time.
    package static let rest = 3_600.0
    /// Seconds for which a guest that is away keeps all that it has, whatever others need: longer than a reboot of its
    /// router takes.
    package static let spared = 60.0
    /// How often it is looked at who is away, and whether others need what they have.
    package static let census = 5.0
  }

  /// Channels between programs: pipes, forwarded connections, channels of the library.
  package enum Channel {
    /// Largest piece or message: what a data channel takes, less the header.
    package static let piece = Wire.message - 16
    /// The cost of a piece in windows besides its bytes: about its memory besides them.
    package static let pieceCost = 64
    /// Longest name, in bytes of UTF-8.
    package static let name = 200
    /// Open channels of one session that one side has opened.
    package static let open = 120
    /// Open channels of one session that the peer has opened; further ones are refused. Twice as many, since the end of
    /// one may arrive after the opening of the next.
    package static let accepted = 2 * open
    /// Numbers of the peer's channels that arrived out of order and are remembered one by one: more than can be in
    /// flight.
    package static let numbers = 4 * open
    /// The initial and least window of a channel: four of the largest pieces, so that a quarter can be granted again
    /// while the rest is in flight.
    package static let window: UInt64 = 262_144
    /// The widest window of one channel: a bandwidth-delay product of 80 MB/s at 100 ms.
    package static let widestWindow: UInt64 = 8_388_608
    /// The windows of all channels of one session together beyond `window`, in each direction.
    package static let windowPool: UInt64 = 33_554_432
    /// Seconds in which the side that opened a channel opens it again after a reconnection, before it counts as reset.
    package static let reopening = 15.0
    /// Longest reason of a reset, in bytes.
    package static let reason = 400
    /// Seconds, while connected, for which a complete channel waits for the other side's `done`. A correct peer sends
    /// it at once; so there has to be time to notice a lost connection and to make another one.
    package static let farewell = Session.vanished + 2
  }

  /// The library.
  package enum Library {
    /// Seconds in which a program accepts a channel that the other one has opened, before it is refused: the opener
    /// waits for that, and the program may still be starting.
    package static let taking = 10.0
    /// Seconds for delivering the data of a channel that was finished and released: the widest window at 30 KB/s. No
    /// program is left to cancel it.
    package static let delivering = 300.0
    /// Seconds until a channel that was finished and released is closed, once the other program has received
    /// everything: the end of its data does not matter any more.
    package static let windingUp = 10.0
    /// Seconds in which the other program can finish its channels when a peer is closed.
    package static let farewell = 1.0
    /// Guests queued for the program of a host; the host serves them all the same.
    package static let guests = Session.guests
    /// Changes queued for one reader of an observed value; a slower reader misses the oldest.
    package static let updates = 16
    /// Bytes per read request: eight pieces, so that few requests cover a long link.
    package static let readChunk = 262_144
    /// Initial read-ahead, which doubles with each chunk that the reader has taken.
    package static let firstReadAhead = 524_288
    /// Largest read-ahead of one reader: more than 200 Mbit/s times 300 ms.
    package static let readAhead = 8_388_608
    /// Most entries of a listing, and pages in a row without a new one: as of a mount.
    package static let listing = Mount.listing
    package static let emptyPages = Mount.emptyPages
  }

  /// Standard input and output connected with a channel.
  package enum Pipes {
    /// Bytes read at once and sent as one piece: whole pages, so that whole ones are free again in the buffer of a
    /// pipe, and as many as fit into a message, since each piece wakes two threads.
    package static let piece = 61_440
    /// Bytes and pieces written by one system call: a full window, so that few calls are made, and credit is returned
    /// while the rest is in flight.
    package static let batch = 262_144
    package static let batchPieces = 64
    /// Requested size of a pipe's buffer, so that the programs at both ends switch less often: the kernel's limit for
    /// an ordinary user (/proc/sys/fs/pipe-max-size).
    package static let buffer: Int32 = 1_048_576
    /// Seconds for writing data that has arrived once the channel has failed.
    package static let drain = 2.0
    /// Seconds until the end of the data has to arrive once the reader of the output is gone: many round trips, and the
    /// moment between a program's last write and its end.
    package static let patience = 3.0
    /// Seconds from the meeting in which the other side opens the channel, before it counts as another program.
    package static let opening = 30.0
    /// Time allowed to deliver the error message before closing.
    package static let farewell = 1.0
  }

  /// Sending files to another computer, and receiving them.
  package enum Transfer {
    /// Files, directories and links in one transfer: walking them takes seconds, and their directories normally fit
    /// into `directoryBytes`.
    package static let entries = 1_000_000
    /// Files announced and not settled: more than a long round trip can carry, at about 300 bytes each on both sides.
    package static let ahead = 4_096
    /// File contents in one message: fifteen pages, the most that fit with the header.
    package static let piece = 61_440
    /// Contents read at once when they are only hashed.
    package static let hashBuffer = 262_144
    /// Bytes of the paths of directories whose times and modes the receiver sets at the end: 60 for each of `entries`.
    package static let directoryBytes = 67_108_864
    /// Names given in an offer; further ones are only counted.
    package static let names = 16
    /// Longest claim of a side's name, in bytes: user, @ and a host name.
    package static let claim = 300
    /// Longest reason of a problem or a refusal, in bytes.
    package static let text = 400
    /// Seconds, or the timeout if that is longer, in which the other side opens its channel once connected, and as many
    /// for its first message.
    package static let opening = 15.0
    /// Seconds of counting after which the user is told the reason of the wait.
    package static let counting = 2.0
    /// Seconds for which a side that has everything waits for the other one's confirmation: longer than making a lost
    /// connection again.
    package static let farewell = 30.0
    /// Seconds after its last start for which the side that shows a code remembers it: a working day, in which somebody
    /// comes back to what was interrupted.
    package static let remembered = 43_200.0
    /// Time allowed to deliver the error message before closing.
    package static let word = 1.0
    /// Problems printed on either side; the rest are counted.
    package static let problemsShown = 100
    /// Filesystems below one target that are synced as a whole at the end: those mounted inside of it. Files on others
    /// are synced one by one.
    package static let filesystems = 16
    /// Attempts to open or create a part file while another process creates and removes it.
    package static let claims = 3
    /// Entries examined below the target to find how much of an offer that does not fit is there already.
    package static let lookedAt = 200_000
  }

  /// ICE, DTLS, SCTP and data channels.
  package enum Transport {
    /// Longest session description that is parsed: ten times the longest one of browsers.
    package static let description = 65_536
    /// Longest line of a session description, and longest candidate attribute.
    package static let line = 1_024
    /// Remote candidates accepted for one connection: libnice accepts no more (NICE_AGENT_MAX_REMOTE_CANDIDATES), and
    /// our checks are sent to each of them.
    package static let candidates = 25
    /// Host and server-reflexive candidates among them; the rest are relays.
    package static let hostCandidates = 14
    package static let reflexiveCandidates = 5
    /// Local addresses offered per family: far below the 64 that libnice gathers, since each one is a socket that asks
    /// every STUN and TURN server and is checked with each candidate of the peer.
    package static let addresses = 7
    /// Candidate pairs that are checked: all local addresses with all candidates of the peer.
    package static let checks = hostCandidates * candidates
    /// Longest label or protocol of a data channel that is accepted.
    package static let label = 256
    /// Data channels of one connection at a time: the open channels of both sides, twice for those of the peer (see
    /// `Channel.accepted`), and the lanes. Each is a stream of the association, and costs memory in SCTP.
    package static let channels = 3 * Channel.open + 8
    /// Messages, and their bytes, kept for channels of one connection that have no receiver yet: the windows of some
    /// channels that were just opened. More ends the connection.
    package static let kept = 4_608
    package static let keptBytes = 4_194_304
    /// Bytes queued in the channels of one connection. The layers above stay far below by watching `queuedBytes`; more
    /// is a bug of ours and ends the connection.
    package static let queuedBytes = 134_217_728
    /// Most bytes in flight: a bandwidth-delay product of 84 MB/s at 100 ms, with the gain.
    package static let flight = 16_777_216
    /// Most bytes in flight of all connections of this process together, if there are several: a peer that acknowledges
    /// late makes its path look long, and many such peers must not fill the memory.
    package static let flightPool = 8_388_608
    /// Bytes that each connection may have in flight in any case.
    package static let sureFlight = 262_144
    /// Buffer for data of a guest that arrived out of order or in parts, until the exporter has granted more (as much
    /// as the write credit): a few messages.
    package static let guestBuffer = 262_144
    /// Window that INIT announces: a sender's slow start ends at the first window that it hears of (RFC 9260 section
    /// 7.2.1), and grows by one packet in a round trip from there on. It is kept for as long as no data has come.
    package static let firstWindow = 4_194_304
    /// Least limit of bytes in flight: two messages of data and their neighbours, so that a short path is not starved
    /// by the scheduling of two threads; well below a default UDP receive buffer of 208 KiB.
    package static let leastFlight = 98_304
    /// Datagrams kept that arrive before the DTLS handshake can start.
    package static let earlyDatagrams = 8
    /// Timeout of ICE, DTLS and SCTP together.
    package static let connecting = 30.0
    /// Time for acknowledgements of data in flight at `close`.
    package static let linger = 1.0
    /// Bytes of a batch of datagrams that is sent by one system call: below the largest UDP payload over IPv4, the
    /// limit of segmentation offload.
    package static let segments = 64_000
    /// Most datagrams in one system call, UDP_MAX_SEGMENTS of Linux.
    package static let segmentCount = 64
    /// Datagrams received in a row before the packets that they caused, mainly acknowledgements, are sent.
    package static let receiveBatch = 16
  }

  /// Watching the network of this computer.
  package enum Network {
    /// Seconds without events after which a change counts as complete: DHCP clients change address and route
    /// separately.
    package static let settling = 0.1
    /// Times that this is awaited, if the kernel reports changes without end.
    package static let settlings = 5
    /// Bytes of one message of the kernel: NLMSG_GOODSIZE with large pages.
    package static let message = 32_768
    /// Messages read in a row before the state itself is read.
    package static let messages = 1_024
    /// Addresses that are compared: four times the number that libnice gathers.
    package static let addresses = 256
    /// Seconds between two readings of the clocks, and the excess that shows that the machine slept or the process was
    /// stopped.
    package static let clock = 1.0
    package static let slept = 2.0
    /// Timeout of the kernel's answer to a route request.
    package static let answer = 0.2
  }

  /// Codes and the handshake.
  package enum Pairing {
    /// Wrong attempts after which a code is spent: the chance to guess two words (32 bits) stays below one in four
    /// hundred million.
    package static let attempts = 10
    /// Seconds before a spent code is replaced for the second time; the first time is at once, since that may have been
    /// one person with a bad memory.
    package static let secondRenewal = 60.0
    /// Longest delay before a spent code is replaced: 240 guesses a day for an attacker that continues for months.
    package static let longestRenewal = 3600.0
    /// Words of a new code's secret: 32 bits, since few guesses are left for each attempt of a user (ARCHITECTURE.md,
    /// "Meeting, and meeting again").
    package static let words = 2
    /// Least words of a given secret.
    package static let leastWords = 2
    /// Most words of a code's secret: 256 bits, more than any key derived from it has.
    package static let mostWords = 16
    /// Longest name of a remembered peer: that of a host name's label.
    package static let peerName = 63
    /// scrypt's N (RFC 7914): with r = 8, 16 MiB and about 50 ms a guess, also for an attacker who can break the curve.
    package static let scryptCost: UInt64 = 16_384
    /// scrypt's r.
    package static let scryptBlock: UInt64 = 8
    /// Memory that scrypt may use: twice what the cost above needs.
    package static let scryptMemory: UInt64 = 33_554_432
    /// Largest plaintext of a sealed message: with its overhead it fits into one signaling message.
    package static let sealed = 61_440
  }

  /// The signaling server and its clients.
  package enum Signaling {
    /// Largest message, as of data channels: a session description with many candidates needs a tenth of it.
    package static let message = 65_536
    /// Bytes that the server's framing adds to a payload.
    package static let framing = 5
    /// Rooms of one server: a room costs about 10 KiB with its connection, so 200 MB when all are taken.
    package static let rooms = 20_000
    /// Guests in one room: twice the limit of the exporter, since some are arriving or leaving.
    package static let guests = 32
    /// Connections of one server, with half of the rooms in use by guests at a time.
    package static let connections = 40_000
    /// Connections from one address (IPv6: one /64): an office behind one NAT.
    package static let connectionsPerAddress = 256
    /// Joins from one address in a minute: 11 days to try every six-digit room once.
    package static let joinsPerMinute = 60
    /// Addresses whose joins are remembered; beyond that the oldest are forgotten.
    package static let addresses = 65_536
    /// Messages per second of one connection: trickle ICE sends tens.
    package static let messageRate = 50.0
    /// Burst of messages.
    package static let messageBurst = 200.0
    /// Bytes per second of one connection, so that the server is no tunnel.
    package static let byteRate = 65_536.0
    /// Burst of bytes: four of the largest messages.
    package static let byteBurst = 262_144.0
    /// The factor for a host, which communicates with many guests.
    package static let hostShare = 4.0
    /// Bytes queued for a slow client before it is disconnected; for a host, `hostShare` times as many.
    package static let backlog = 1_048_576
    /// Bytes of one guest queued for its host before the guest is disconnected: the share of one of `guests` in the
    /// backlog of the host, and two of the largest messages. So a stranger cannot fill the part of others.
    package static let guestBacklog = 131_072
    /// Bytes queued for a slow client above which its pings are not answered.
    package static let pongs = 4_096
    /// Timeout from accepting a connection to the end of its upgrade, TLS included.
    package static let handshake = 10.0
    /// A connection is closed after this time without data: clients ping every `ping`.
    package static let idle = 60.0
    /// Interval of a client's pings: below the 30 s after which some NATs forget a TCP connection.
    package static let ping = 20.0
    /// Timeout of the server's answer to a ping.
    package static let pong = 10.0
    /// The same after a change of the network or silence of the peer: a slow link's round trip, with one packet lost.
    package static let probe = 1.5
    /// Interval of further connection attempts beside a pending one: TCP repeats its SYN after one second and then
    /// three, and should not delay the use of a path that is back.
    package static let dial = 1.0
    /// Time for a room's host to return with its token after its connection broke.
    package static let reservation = 120.0
    /// A client's timeout for TCP, TLS, upgrade and welcome together.
    package static let answer = 5.0
    /// Largest head of an HTTP request or response.
    package static let httpHead = 8_192
    /// STUN answers per second of one server: 1.6 Mbit/s at most, useless as a reflector.
    package static let stunRate = 4_000.0
    /// Largest STUN request that is answered (RFC 8489, section 6.1, for an unknown path MTU).
    package static let stunRequest = 548
    /// ICE servers that a client accepts from a welcome.
    package static let iceServers = 16
    /// Longest URI, username or credential of an ICE server.
    package static let iceText = 512
    /// Lifetime of TURN credentials: they are given to two clients that meet at this moment, and are checked when the
    /// use of a relay begins. Some clocks are minutes off.
    package static let turnLifetime = 600
    /// Seconds in which a guest sends its first message once there is a host: a client does so at once.
    package static let silence = 10.0
    /// Events queued in a client for its reader; more means that the server floods it.
    package static let events = 1_024
    /// Ports tried after 11985 by the server of an export.
    package static let ports = 64
  }

  /// Serving a directory.
  package enum Export {
    /// Seconds within which two changes of a file may get the same times: two ticks of a kernel of 250 Hz, and the two
    /// seconds of vfat.
    package static let fineTimes = 0.01
    package static let coarseTimes = 2.01
    /// Requests that are served at once, besides those that wait for a disk: enough for both cores of a small machine
    /// and a few short waits, few enough that the transport thread keeps its core. This many threads always exist.
    package static let workers = 4
    /// Requests among them of one session, so that one thread is left to the others.
    package static let workersPerSession = 3
    /// Requests of one session that are served at once, including those that wait for a disk: requests stuck in a dead
    /// disk block the session only if there are this many.
    package static let threadsPerSession = 12
    /// Requests among them that are known to wait for a disk, such as fsync: the rest is left to quick ones.
    package static let slowPerSession = 8
    /// All threads of a share, so that stuck requests of one guest leave threads for the others.
    package static let threads = workers + Session.guests * threadsPerSession
    /// Seconds in a system call after which another thread takes over: short enough for a user who waits for `ls`, and
    /// longer than a disk's seek.
    package static let slowCall = 0.1
    /// Requests of one session that wait or run: the limit of the session layer.
    package static let queue = Session.requests
    /// Open files and listings of one session, even if the process may open more: each costs about 2 KB of kernel
    /// memory. Enough for a build or a database with thousands of files.
    package static let openFiles = 8_192
    /// Open files that are guaranteed to each session where the process may open many, and those that all sessions
    /// share.
    package static let ownOpenFiles = 1_024
    package static let sharedOpenFiles = 16_384
    /// Memory of an open file in this process.
    package static let openFileCost = 150
    /// Descriptors reserved for everything else: sockets, temporary descriptors of the workers, the descriptors of a
    /// mount in the same process.
    package static let reservedDescriptors = 256
    /// Open listings of one session; the least recently used one is closed for a further one, and is opened again at
    /// its position when requested.
    package static let listings = 16
    /// Parts of one append: IOV_MAX of Linux, which one system call takes.
    package static let appendParts = 1_024
    /// Bytes of directory entries read from the kernel at once.
    package static let directoryBuffer = 32_768
    /// Attempts of a resolution that collides with renames before it is done step by step.
    package static let resolutionTries = 8
    /// Bytes read of /proc/self/mountinfo: some 100,000 mounts.
    package static let mountinfo = 16_777_216
    /// Seconds for which the end of a share waits for a worker that hangs in a system call.
    package static let shutdown = 5
  }

  /// The mounted filesystem.
  package enum Mount {
    /// Characters of what shows as the source of a mount, for which the kernel and libfuse have a page: enough for an
    /// address and a path that one reads.
    package static let source = 200
    /// Names and handles of a file by which a request is tried, one after the other, while each turns out to be gone.
    package static let targets = 8
    /// Largest read-ahead of one open file: more than 200 Mbit/s times 300 ms.
    package static let readAhead = 8_388_608
    /// Bytes per read-ahead request: eight pieces, so that few requests cover a long link.
    package static let readAheadChunk = 262_144
    /// All read-ahead of one mount, received or in flight: the larger part of its memory budget of 64 MB.
    package static let readAheadTotal = 25_165_824
    /// Contents returned with an open: the kernel's first read of any file.
    package static let prefetch = 131_072
    /// Unanswered writes, besides the peer's credit in bytes: half of the unanswered requests of a session are left to
    /// everything else.
    package static let writes = 512
    /// Bytes of unanswered writes, besides the peer's credit: their part of the memory budget of a mount.
    package static let writeBehind = 16_777_216
    /// Most entries of a listing, and bytes of their names: bounds the memory of an endless listing, at about 40 bytes
    /// for an entry besides its name.
    package static let listing = 2_000_000
    package static let listingNames = 134_217_728
    /// Entries of all cached listings together: about 20 MB.
    package static let cachedEntries = 131_072
    /// Listings requested ahead of a walk and not opened yet: at first, at most, and at least. With 32, a walk through
    /// 1000 directories costs some 30 round trips; 64 of one page each are 4 MB on the wire.
    package static let listingsAhead = 32
    package static let mostListingsAhead = 64
    package static let leastListingsAhead = 4
    /// Unused entries listed ahead above which less is listed ahead: 230 KB in five seconds.
    package static let entriesInVain = 2_048
    /// Directories noted as candidates of a walk: about 200 bytes each.
    package static let expectedDirectories = 4_096
    /// Pages of a listing in a row without a new entry before it counts as endless.
    package static let emptyPages = 64
    /// Closed files and new directories that are remembered until they are synced: the last ones of a program, at some
    /// 200 bytes each.
    package static let unsynced = 1_024
    /// Default lifetime of cached attributes and names.
    package static let validity = 10.0
    /// Lifetime of the answer to statfs: df and file managers ask in bursts.
    package static let statisticsValidity = 1.0
    /// Repetitions of a read whose file changed meanwhile, before it is answered with the last bytes, which the kernel
    /// then does not cache: a file that changes all the time can still be read.
    package static let rereads = 4
    /// Seconds in which a thread whose open was answered with ESTALE is expected to look the name up again, and for
    /// which the file that was opened for it is kept: the kernel does so within microseconds.
    package static let pinned = 1.0
    /// Seconds in which the kernel repeats another operation than open after ESTALE.
    package static let secondTry = 0.05
    /// Seconds for which a request may wait before it is looked for processes that are killed and cannot end, since they
    /// wait for a lock which the kernel holds for that request; and before the next look, if there is one.
    package static let patience = 0.5
    package static let relief = 0.1
    /// Seconds in which a thread that was answered ESTALE for that is not answered so once more, as it may be in the same
    /// call; those in which it asks again once there is a result (the kernel does at once, but may ask for something else
    /// first, for which the connection may be gone again); and how many such threads there may be, at some 300 bytes.
    package static let detour = 10.0
    package static let settled = 120.0
    package static let detours = 1_024
    /// Files kept open for such threads at a time; the oldest are closed for further ones.
    package static let pins = 64
    /// Symbolic links created through a mount that are remembered, so that those that lead out of the share can be
    /// followed: about 200 bytes each.
    package static let ownLinks = 16_384
    /// Files with several names whose changes are remembered as long as listings are cached: 100 bytes each.
    package static let changedLinks = 4_096
    /// Bytes of unsent writes of a killed process that are sent nevertheless: the last lines of a program that logs.
    /// More is an interrupted copy.
    package static let unsentOfKilled = 262_144
    /// Bytes of an append at which the kernel may have cut it: one for each of the pages of its largest request, since
    /// each buffer of a writev(2) takes a page at least. Below that nothing is asked of /proc.
    package static let cutAppend = 256
    /// Filesystems of the peer whose statistics are remembered.
    package static let filesystems = 64
    /// Seconds after a program has set a file's times in which pages that it changed before through a mapping are
    /// expected, and again after each of them: the kernel is made to write them at once.
    package static let settling = 1.0
    /// Files whose loss is reported by name.
    package static let lostPaths = 16
  }

  /// Forwarded connections (p2pfs-forward(1)).
  package enum Forward {
    /// Connections of one session for which this side has channels open; further ones wait in the backlog. Below
    /// `Channel.open`, so that there is room for other channels and for openings that overtake resets.
    package static let connections = 100
    /// Connections that one peer can cause on this side: all of its channels, and attempts to connect whose channel is
    /// over already.
    package static let accepted = 160
    /// Listeners of one peer.
    package static let listeners = 8
    /// Seconds for which the place of a failed connection stays taken, so that the peer knows its end before the next
    /// is opened.
    package static let rest = 1.0
    /// Longest text form of a destination or address: with its prefix, the name of a channel.
    package static let endpoint = 170
    /// Longest path of a Unix socket: sun_path of Linux less the terminating NUL.
    package static let socketPath = 107
    /// Backlog of one listener: SOMAXCONN of most systems.
    package static let backlog = 128
    /// Threads for name lookups: a few slow name servers do not block the others, and a hostile peer gets no more.
    package static let lookupThreads = 4
    /// Lookups queued for these threads, for all peers together.
    package static let lookups = 256
    /// Timeout of name lookup and connecting together.
    package static let connect = 15.0
    /// Seconds between two attempts to connect to a Unix socket whose backlog is full.
    package static let connectPause = 0.1
    /// Seconds for which a guest waits for an address of another guest that may be gone: until that is noticed
    /// (`Session.vanished`), and less than `answer`.
    package static let takeover = 12.0
    /// Seconds between two checks of that.
    package static let takeoverPause = 0.5
    /// Seconds without an answer after which the user is told the reason of the wait.
    package static let notice = 2.0
    /// Seconds after which a listener at the peer counts as stable; an earlier end is followed by a pause, of
    /// `listenPause` seconds at first, before it is requested again.
    package static let lasting = 10.0
    package static let listenPause = 0.5
    /// Timeout of the peer's answer whether it allows a forward, including its own lookups.
    package static let answer = 20.0
    /// Bytes of the peer queued in this process for one local socket above which no more are taken, and below which
    /// more are taken.
    package static let highWater = 131_072
    package static let lowWater = 32_768
    /// Connections with one peer, in each direction, whose receive buffers the kernel may widen, up to
    /// net.ipv4.tcp_rmem (6 MiB); otherwise a program that is far from this computer would be slow. Few, since the
    /// kernel's data of a connection is read into memory when the other program closes it, regardless of the window.
    package static let wide = 8
    /// Receive buffer of the other connections. Linux grants no more without privileges (net.core.rmem_max).
    package static let receiveBuffer = 212_992
    /// Keep-alive of TCP connections: seconds of silence, seconds between probes, and unanswered probes. A computer
    /// that vanished is noticed within two minutes, and does not occupy one of `connections` for ever.
    package static let keepAliveIdle = 60
    package static let keepAliveInterval = 15
    package static let keepAliveProbes = 4
    /// Reads in a row from one connection before it is the turn of others.
    package static let readsAtOnce = 4
    /// Attempts to find a port that is free at all addresses of a listener, if any port will do.
    package static let portTries = 8
    /// Seconds until connections are accepted again after the process ran out of descriptors.
    package static let acceptPause = 0.5
  }
}
