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
    /// Longest path. A tree may be deeper than PATH_MAX, which the exporter resolves in parts of `pathPart`; and a
    /// message holds two of the longest.
    package static let path = 31_999
    /// Longest part of a path that one system call resolves: PATH_MAX of Linux less the terminating NUL.
    package static let pathPart = 4_095
    /// Deepest path: what a path of `path` bytes can hold.
    package static let depth = 16_000
    /// Longest target of a symbolic link: PATH_MAX of Linux less the terminating NUL.
    package static let linkTarget = 4_095
    /// Most bytes one read request may ask for: the kernel's largest FUSE read.
    package static let read = 1_048_576
    /// Most bytes that one append adds to a file as a whole: twice the kernel's largest FUSE write, so that one that
    /// the kernel cuts at a page boundary is one append; and no more than the least write credit of 16 guests.
    package static let append = 2_097_152
    /// Largest offset or size of a file, 4 EiB: half of OFFSET_MAX of Linux, so that the sum of two fits an Int64.
    package static let fileSize: Int64 = Int64.max / 2
    /// Most bytes of listing that one list request is answered with, before the client asks on.
    package static let listing = 524_288
  }

  /// One relation with one peer.
  package enum Session {
    /// Requests without an answer that one side may have at the other. More is a violation of the
    /// protocol and ends the connection. Bounds the exporter's queue and reply cache.
    package static let requests = 1_024
    /// Those of them that are kept for putting right what the restart of the peer's program has broken: 64 files opened
    /// again for each round trip.
    package static let recovery = 64
    /// Bytes of requests that one side may have at the other without an answer, without the data of writes and with
    /// `requestCost` for each: as many as there may be, with 250 bytes each, or fewer with long paths. The client keeps
    /// to it by waiting; more is a violation of the protocol and ends the connection.
    package static let requestBytes = 524_288
    /// What a request takes in memory besides its message: objects of the session and of the workers' queue.
    package static let requestCost = 256
    /// Bytes of file contents that may wait in the exporter for the disk, granted per session from `writePool`.
    package static let writeCredit = 4_194_304
    /// The least write credit, when many guests share the pool: eight messages. An append that is larger than the credit
    /// is several.
    package static let leastWriteCredit = 262_144
    /// All write credits of one exporter together, but for the least ones.
    package static let writePool = 10_485_760
    /// Bytes of answers queued for one peer above which its further requests wait, granted per session from
    /// `backlogPool`.
    package static let backlog = 2_097_152
    /// The least of it, when many guests share the pool: eight pieces.
    package static let leastBacklog = 262_144
    /// All backlogs of one exporter together, but for the least ones, and for one long answer to each guest, which may
    /// exceed them.
    package static let backlogPool = 4_194_304
    /// Bytes of short answers that may be queued for one peer besides `backlog` before it is cut off: it asks on and on
    /// and takes no answer. As many as it may have requests under way, at 256 bytes each.
    package static let shortAnswers = 262_144
    /// What the exporter keeps of one answer in each slot: a header, attributes, the objects.
    package static let keptAnswer = 256
    /// Guests of one exporter at the same time.
    package static let guests = 16
    /// A connection without one authenticated packet for this long is given up and made again.
    package static let vanished = 8.0
    /// The same with a shorter timeout: three of the ticks in which time is counted, and a slow link's round trip.
    package static let leastVanished = 3.0
    /// The part of this time after which a silent peer is asked for a sign of life, once a second until it is over.
    package static let heartbeat = 0.25
    /// The silence, or a round trip if that is longer, after which it is asked while something is under way, and the time
    /// that it has for its answer at least.
    package static let quiet = 0.5
    /// The silence, or two round trips if that is longer, with such a question open, after which another connection is
    /// made beside the old one: a program should not stall for more than three seconds, and the meeting takes one.
    package static let leastDoubt = 1.0
    /// How long something counts as under way after the last request, answer or piece of a channel.
    package static let busy = 5.0
    /// The time, or two round trips if that is longer, in which the peer is to answer when the network has changed,
    /// before another connection is made.
    package static let headStart = 0.2
    /// The ticks in which time is counted: when something is under way, and otherwise.
    package static let shortTick = 0.2
    package static let tick = 1.0
    /// Default of `-o timeout=`: without the peer for this long, operations fail.
    package static let timeout = 30.0
    /// ICE servers taken from a signaling server's word: a peer asks each for its address.
    package static let iceServers = 8
    /// The handshake through the signaling server ends after this: six messages, and time for a person's slow link.
    package static let handshake = 15.0
    /// Messages and candidates that may wait while two peers meet: more than both sides' candidates together.
    package static let meetingEvents = 256
    /// Guests that may be in the middle of a handshake at once; others are turned away.
    package static let meetings = 32
    /// Seconds in which a guest says its first word: a client does so at once.
    package static let firstWord = 5.0
    /// What one guest may say while it meets its host, in bytes: a session description, which is below 10 KiB as a rule,
    /// and candidates. More is a flood, and the guest is turned away.
    package static let meetingBytes = 131_072
    /// Seconds without success after which a user on a terminal is told what is being tried.
    package static let notice = 3.0
    /// On a new connection the peer's hello comes within this time: one round trip, and a slow link's patience.
    package static let greeting = 10.0
    /// Longest time from the beginning of one try to reach the signaling server or the peer again to the next.
    package static let longestBackoff = 5.0
    /// The same while the server cannot be reached at all, which costs it nothing: for so many tries, and later.
    package static let redial = 0.7
    package static let redials = 90
    package static let laterRedial = 2.0
    /// The time in which a connection is to be made again, once the exporter is there, before it is tried anew: the first
    /// time, and doubling up to `handshake` and `Transport.connecting`. What it began with may not hold any more.
    package static let firstPatience = 4.0
    /// A connection made since was heard of again by itself: the next one is not made within this time for silence alone,
    /// so that a link that stalls now and then does not have the server asked all the time.
    package static let falseAlarm = 3.0
    /// Seconds for which an export waits for the one of the same folder before it to end, as when it is started again.
    package static let succession = 2.0
    /// A session unseen for this long is dropped by the exporter.
    package static let expiry = 86_400.0
    /// Seconds after which the exporter closes what a guest that is away had open, locks among it, for others: it then
    /// finds an exporter as after a restart. Operations fail long before (`timeout`), and a suspended laptop comes back to
    /// its open files in this time.
    package static let rest = 3_600.0
  }

  /// Channels between programs: pipes, forwarded connections, what a library's user opens.
  package enum Channel {
    /// Largest piece or message: what a data channel takes, less the header.
    package static let piece = Wire.message - 16
    /// What each piece counts in windows besides its bytes: about what it takes in memory besides them.
    package static let pieceCost = 64
    /// Longest name, in bytes of UTF-8.
    package static let name = 200
    /// Channels of one session that one side has opened and that are not over.
    package static let open = 120
    /// Those of the peer that this side keeps at a time; further ones are refused. Twice as many, since the word that one
    /// is over may come after the opening of the next.
    package static let accepted = 2 * open
    /// Numbers of the peer's channels that came out of order and are remembered one by one: more than can be on their way
    /// at a time.
    package static let numbers = 4 * open
    /// The window that each channel has for sure, before the other side has said anything too: four of the largest
    /// pieces, so that a quarter can be granted anew while the rest is on its way.
    package static let window: UInt64 = 262_144
    /// The widest window of one channel: a bandwidth-delay product of 80 MB/s at 100 ms.
    package static let widestWindow: UInt64 = 8_388_608
    /// What all channels of one session together may have beyond `window`, in each direction.
    package static let windowPool: UInt64 = 33_554_432
    /// Seconds in which the side that opened a channel opens it again once connected, before it counts as reset.
    package static let reopening = 15.0
    /// Longest reason that comes with a reset, in bytes.
    package static let reason = 400
    /// Seconds that a complete channel waits, once connected, for the other side's word that it is, too. One that keeps
    /// to the protocol says it at once; so only a connection that is lost unnoticed must be noticed, and made again.
    package static let farewell = Session.vanished + 2
  }

  /// The library: what its programs are spared.
  package enum Library {
    /// Seconds in which a program takes a channel that the other one has opened, before it is refused: whoever opens one
    /// waits for that, and a program may be busy setting up.
    package static let taking = 10.0
    /// Seconds in which the other program takes what is under way on a channel that was finished and let go of: the widest
    /// window at 30 KB/s. Nobody is left who could give it up.
    package static let delivering = 300.0
    /// Seconds in which a channel ends that its program has finished and let go of, once the other program has taken
    /// everything: then that one's end is of no interest any more.
    package static let windingUp = 10.0
    /// Seconds in which the other program can finish its channels, too, when a peer is closed.
    package static let farewell = 1.0
    /// Guests of a host that wait for its program to hear of them; the host serves them all the same.
    package static let guests = Session.guests
    /// Changes that wait for one reader of how something stands; one that is later than that misses the oldest.
    package static let updates = 16
    /// Bytes asked for at once when a file is read: eight pieces, so that few requests cover a long link.
    package static let readChunk = 262_144
    /// What is asked for ahead of a reader at first, which doubles with each chunk that it has taken.
    package static let firstReadAhead = 524_288
    /// Furthest that a reader is read ahead: more than 200 Mbit/s times 300 ms.
    package static let readAhead = 8_388_608
    /// Most entries of a directory that is listed at all, and pages in a row without a new one: as of a mount.
    package static let listing = Mount.listing
    package static let emptyPages = Mount.emptyPages
  }

  /// Standard input and output joined with a channel.
  package enum Pipes {
    /// Bytes read at once, and sent as one piece: whole pages, so that a pipe's buffer has room for whole ones again,
    /// and as many as fit into a message, since each costs two threads a turn.
    package static let piece = 61_440
    /// Bytes and pieces written by one system call: what arrives with a full window, so that few calls are made, and
    /// credit goes back while the rest is on its way.
    package static let batch = 262_144
    package static let batchPieces = 64
    /// What is asked of the kernel for a pipe's buffer, so that the programs at both ends take turns less often: its
    /// own limit for an ordinary user (/proc/sys/fs/pipe-max-size).
    package static let buffer: Int32 = 1_048_576
    /// Seconds that what has arrived may take to be written once the channel has failed.
    package static let drain = 2.0
    /// Seconds that the end may take to come, once nobody takes the output any more: many round trips, and the moment
    /// between a program's last word and its end.
    package static let patience = 3.0
    /// Seconds from the meeting in which the other side opens the channel, before it counts as another program.
    package static let opening = 30.0
    /// Seconds that the other side has to hear why this one gives up.
    package static let farewell = 1.0
  }

  /// Sending files to another computer, and receiving them.
  package enum Transfer {
    /// Files, directories and links in one transfer: a walk of them takes seconds, and their directories fit into
    /// `directoryBytes` as a rule.
    package static let entries = 1_000_000
    /// Files announced and not yet sent whole: more than pass within a long round trip, at about 300 bytes each here
    /// and there.
    package static let ahead = 4_096
    /// File contents in one message: fifteen pages, the most whole ones that a message takes with its header.
    package static let piece = 61_440
    /// Contents read at once where they are only hashed.
    package static let hashBuffer = 262_144
    /// Paths of directories whose times and modes the receiver sets at the end, in bytes: 60 for each of `entries`.
    package static let directoryBytes = 67_108_864
    /// Names that an offer tells; more are only counted.
    package static let names = 16
    /// Longest claim of who sends or receives, in bytes: user, @ and a host name.
    package static let claim = 300
    /// Longest text that comes with a problem or a refusal, in bytes.
    package static let text = 400
    /// Seconds, or the timeout if that is longer, in which the other side's program opens its channel once connected, and
    /// as many for its first message.
    package static let opening = 15.0
    /// Seconds of counting after which the user is told what is waited for.
    package static let counting = 2.0
    /// Seconds that either side, with all there, waits for the other one to know: a lost connection is made again in
    /// less.
    package static let farewell = 30.0
    /// Seconds after its last start for which the side that shows a code remembers it: a working day, in which somebody
    /// comes back to what was interrupted.
    package static let remembered = 43_200.0
    /// Seconds that the other side has to hear why this one gives up.
    package static let word = 1.0
    /// Problems that are shown, on either side; the rest are counted.
    package static let problemsShown = 100
    /// Filesystems below one target that are brought to disk as a whole at the end: what is mounted inside of it. Files on
    /// others are brought there one by one.
    package static let filesystems = 16
    /// Times that a part is tried to be opened or made, while somebody else makes and removes it.
    package static let claims = 3
    /// Entries looked at below the target to find how much of an offer that does not fit is there already.
    package static let lookedAt = 200_000
  }

  /// ICE, DTLS, SCTP and data channels.
  package enum Transport {
    /// Longest session description that is parsed: ten times the longest seen from a browser.
    package static let description = 65_536
    /// Longest line of a session description, and longest candidate attribute.
    package static let line = 1_024
    /// Remote candidates taken for one connection: libnice takes no more (NICE_AGENT_MAX_REMOTE_CANDIDATES), and
    /// each is a destination that our checks are sent to.
    package static let candidates = 25
    /// Those of them that are addresses of the peer's interfaces, and that a STUN server has told it; the rest are relays.
    package static let hostCandidates = 14
    package static let reflexiveCandidates = 5
    /// Addresses of this computer that are offered, of each family: far below the 64 that libnice gathers, since each is a
    /// socket that asks every STUN and TURN server and is checked with each candidate of the peer.
    package static let addresses = 7
    /// Pairs of candidates that are checked: all local addresses with all of the peer's.
    package static let checks = hostCandidates * candidates
    /// Longest label or protocol of a data channel that is accepted.
    package static let label = 256
    /// Data channels one connection may have at a time: what either side may have open, twice on the peer's (see
    /// `Channel.accepted`), and the lanes. Each is a stream of the association, and costs memory in SCTP.
    package static let channels = 3 * Channel.open + 8
    /// Messages, and bytes of them, kept for channels of one connection to whose messages nobody listens yet: the windows
    /// of some channels that were just opened. More ends the connection.
    package static let kept = 4_608
    package static let keptBytes = 4_194_304
    /// Bytes that may wait in one connection's channels to be sent. The layers above stay far below by watching
    /// `queuedBytes`; more is a fault of ours and ends the connection.
    package static let queuedBytes = 134_217_728
    /// Most bytes in flight: a bandwidth-delay product of 84 MB/s at 100 ms, with the gain.
    package static let flight = 16_777_216
    /// Most bytes in flight of all connections of this process together, where there are several: a peer that
    /// acknowledges late makes its path look long, and many such ones must not fill the memory.
    package static let flightPool = 8_388_608
    /// What each connection may have in flight all the same.
    package static let sureFlight = 262_144
    /// What a guest's connection may hold here that came out of order or in parts, until the exporter has granted more
    /// (as much as the write credit): a few messages.
    package static let guestBuffer = 262_144
    /// Least bytes that may be in flight: two messages of data with their neighbours, so that a short path is not
    /// starved by the rhythm of two threads; well below a default UDP receive buffer of 208 KiB.
    package static let leastFlight = 98_304
    /// Datagrams that may arrive before the DTLS handshake can be begun, and are kept for it.
    package static let earlyDatagrams = 8
    /// ICE, DTLS and SCTP together must be up within this time.
    package static let connecting = 30.0
    /// What is in flight at `close` has this time to be acknowledged.
    package static let linger = 1.0
    /// Bytes of a batch of datagrams that leave by one system call at the latest: the largest UDP payload over IPv4,
    /// below which segmentation offload stays.
    package static let segments = 64_000
    /// Most datagrams in one system call, UDP_MAX_SEGMENTS of Linux.
    package static let segmentCount = 64
    /// Datagrams received in a row after which what they caused to be sent, acknowledgements above all, leaves.
    package static let receiveBatch = 16
  }

  /// Watching over this computer's own network.
  package enum Network {
    /// Seconds of quiet after which a change counts as complete: DHCP clients change address and route one by one.
    package static let settling = 0.1
    /// Times that this is waited for, where the kernel tells of changes all the time.
    package static let settlings = 5
    /// Bytes of one message of the kernel: NLMSG_GOODSIZE with large pages.
    package static let message = 32_768
    /// Messages read in a row before it is looked at the state itself.
    package static let messages = 1_024
    /// Addresses that are compared: four times as many as candidates are gathered of.
    package static let addresses = 256
    /// Seconds between two looks at the clocks, and how much more than that shows that the machine slept or the process
    /// was stopped.
    package static let clock = 1.0
    package static let slept = 2.0
    /// Seconds that the kernel has for the answer which route a packet would take.
    package static let answer = 0.2
  }

  /// Codes and the handshake.
  package enum Pairing {
    /// Wrong attempts after which a code is spent: a stranger's chance to guess two words (32 bits) stays below
    /// one in four hundred million.
    package static let attempts = 10
    /// Seconds before a spent code is replaced for the second time; the first time is at once, since that may have been
    /// one person with a bad memory.
    package static let secondRenewal = 60.0
    /// Most seconds before a spent code is replaced: 240 guesses a day, for who goes on for months.
    package static let longestRenewal = 3600.0
    /// Words of a new code's secret: 32 bits, since few guesses are left for each attempt of a user (ARCHITECTURE.md,
    /// "Meeting, and meeting again").
    package static let words = 2
    /// Least words of a secret that is given.
    package static let leastWords = 2
    /// Most words of a code's secret: 256 bits, more than any key derived from it has.
    package static let mostWords = 16
    /// Longest name of a remembered peer: that of a host name's label.
    package static let peerName = 63
    /// scrypt's N (RFC 7914): with r = 8, 16 MiB and about 50 ms a guess, also for whoever one day breaks the curve.
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
    /// Largest message, as data channels have it: a session description with many candidates takes a tenth of it.
    package static let message = 65_536
    /// Bytes that the server's framing adds to a payload.
    package static let framing = 5
    /// Rooms of one server: a room costs about 10 KiB with its connection, so 200 MB when all are taken.
    package static let rooms = 20_000
    /// Guests in one room: twice the exporter's cap, as some are on their way in or out.
    package static let guests = 32
    /// Connections of one server, with half of the rooms in use by guests at a time.
    package static let connections = 40_000
    /// Connections from one address (IPv6: one /64): an office behind one NAT.
    package static let connectionsPerAddress = 256
    /// Joins from one address in a minute: 11 days to try every six-digit room once.
    package static let joinsPerMinute = 60
    /// Addresses whose joins are remembered; beyond it the oldest are forgotten.
    package static let addresses = 65_536
    /// Messages a second that one connection may send, and how many at once: trickle ICE sends tens.
    package static let messageRate = 50.0
    /// Messages at once.
    package static let messageBurst = 200.0
    /// Bytes a second that one connection may send, so that the relay is no tunnel.
    package static let byteRate = 65_536.0
    /// Bytes at once: four of the largest messages.
    package static let byteBurst = 262_144.0
    /// A host speaks to many guests: its connection may send this many times as much.
    package static let hostShare = 4.0
    /// Bytes that wait for a slow receiver before it is dropped; of a host, `hostShare` times as many.
    package static let backlog = 1_048_576
    /// Bytes of one guest that wait for its host before the guest is dropped: the part of the host's backlog that is one
    /// guest's of `guests`, and two of the largest messages. So no stranger fills what others share.
    package static let guestBacklog = 131_072
    /// Bytes that wait for a slow receiver above which pings are not answered any more.
    package static let pongs = 4_096
    /// Time from accepting a connection to the end of its upgrade, TLS included.
    package static let handshake = 10.0
    /// A connection from which nothing came for this long is closed: clients ping every `ping`.
    package static let idle = 60.0
    /// How often a client pings: below the 30 s after which the least patient of NATs forget a TCP connection.
    package static let ping = 20.0
    /// Time a client gives the server to answer a ping.
    package static let pong = 10.0
    /// The same when the network has changed or the peer fell silent: a slow link's round trip, with one packet lost.
    package static let probe = 1.5
    /// While TCP does not stand it is dialled anew this often, beside what was begun: its own second try comes after a
    /// second, its third after three, and a path that is back should not wait for them.
    package static let dial = 1.0
    /// Time for a room's host to come back with its token, after a connection that broke.
    package static let reservation = 120.0
    /// Time a client gives a server for TCP, TLS, upgrade and welcome together.
    package static let answer = 5.0
    /// Largest head of an HTTP request or answer.
    package static let httpHead = 8_192
    /// STUN answers a second of one server: 1.6 Mbit/s at most, of no use as a reflector.
    package static let stunRate = 4_000.0
    /// Largest STUN request that is answered (RFC 8489, section 6.1, for an unknown path MTU).
    package static let stunRequest = 548
    /// ICE servers that a client takes from a welcome.
    package static let iceServers = 16
    /// Longest URI, username or credential of an ICE server.
    package static let iceText = 512
    /// Seconds that TURN credentials are good for: they are given to two that meet at this moment, and a relay asks for
    /// them when its use begins. Some clocks are minutes off.
    package static let turnLifetime = 600
    /// Seconds in which a guest says its first word once there is a host: a client does so at once.
    package static let silence = 10.0
    /// Events that wait in a client for whoever reads them; more is a server that floods.
    package static let events = 1_024
    /// Ports tried after 11985 by a server that an export starts by itself.
    package static let ports = 64
  }

  /// Serving a directory.
  package enum Export {
    /// Requests that are served at once, besides those that wait for a disk: enough for both cores of a small machine
    /// and a few short waits, few enough that the transport thread keeps its core. As many threads are there all the time.
    package static let workers = 4
    /// Those of one session, so that one is left to the others.
    package static let workersPerSession = 3
    /// Requests of one session that are served at once, those included that wait for a disk: what hangs in a dead one
    /// holds up the session only when there are so many.
    package static let threadsPerSession = 12
    /// Those of one session that are known to wait for a disk, such as fsync: the quick ones keep the others.
    package static let slowPerSession = 8
    /// All threads of a share, so that no guest's stuck requests leave another without.
    package static let threads = workers + Session.guests * threadsPerSession
    /// Seconds in a system call after which another thread takes the place of one that serves requests: a user's patience
    /// with `ls` is not tried, and a disk's seek is no reason for a thread.
    package static let slowCall = 0.1
    /// Requests of one session that wait or run: what the session layer lets through.
    package static let queue = Session.requests
    /// Open files and listings of one session, even where the process may open more: each costs about 2 KB of kernel
    /// memory. Enough for a build or a database with thousands.
    package static let openFiles = 8_192
    /// Those of them that are a session's own where the process may open many, and all that sessions share besides.
    package static let ownOpenFiles = 1_024
    package static let sharedOpenFiles = 16_384
    /// What an open file takes in this process.
    package static let openFileCost = 150
    /// Descriptors kept back from sessions for everything else: sockets, what the workers hold for a moment,
    /// the descriptors of a mount in the same process.
    package static let reservedDescriptors = 256
    /// Listings of one session that are open at once; the least recently used one is closed for a further
    /// one, and opened again where it was if it is asked for.
    package static let listings = 16
    /// Parts of one append: IOV_MAX of Linux, which one system call takes.
    package static let appendParts = 1_024
    /// Bytes of directory entries read from the kernel at once.
    package static let directoryBuffer = 32_768
    /// Tries of a resolution that collides with renames before it is done step by step.
    package static let resolutionTries = 8
    /// Bytes of /proc/self/mountinfo that are looked at: some 100,000 mounts.
    package static let mountinfo = 16_777_216
    /// Seconds that the end of a share waits for a worker that hangs in a system call.
    package static let shutdown = 5
  }

  /// The mounted filesystem.
  package enum Mount {
    /// Characters of what shows as the source of a mount, for which the kernel and libfuse have a page: enough for an
    /// address and a path that one reads.
    package static let source = 200
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
    /// Most entries of a directory that is listed at all, and bytes of their names: bounds what a listing without end
    /// can take, at about 40 bytes an entry besides its name.
    package static let listing = 2_000_000
    package static let listingNames = 134_217_728
    /// Entries of all cached listings together: about 20 MB.
    package static let cachedEntries = 131_072
    /// Listings asked for ahead of a walk and not opened yet: at first, at most, and at least. With 32 a walk
    /// through 1000 directories costs some 30 round trips; 64 of one page each are 4 MB on the wire.
    package static let listingsAhead = 32
    package static let mostListingsAhead = 64
    package static let leastListingsAhead = 4
    /// Entries listed ahead in vain at a time above which less is listed: 230 KB in five seconds.
    package static let entriesInVain = 2_048
    /// Directories noted as what a walk may want: about 200 bytes each.
    package static let expectedDirectories = 4_096
    /// Pages of a listing in a row without a new entry before it counts as endless.
    package static let emptyPages = 64
    /// Files that were closed, and directories that were made, which are remembered until they are synced: what a program
    /// made last, by some 200 bytes each.
    package static let unsynced = 1_024
    /// How long attributes and names are believed when no option says otherwise.
    package static let validity = 10.0
    /// How long the answer to statfs is believed: df and file managers ask in bursts.
    package static let statisticsValidity = 1.0
    /// How often a read is asked for again because the file became another meanwhile, before it is answered with the
    /// bytes that came last, which the kernel then does not keep: a file that changes all the time can still be read.
    package static let rereads = 4
    /// Seconds for which a thread whose open was answered ESTALE is expected to look the name up again, and for which
    /// the file that was opened for it is kept: the kernel does so within microseconds.
    package static let pinned = 1.0
    /// Seconds in which the kernel's second try after ESTALE comes, of anything but an open.
    package static let secondTry = 0.05
    /// Files opened for such a thread at a time; the oldest are closed for further ones.
    package static let pins = 64
    /// Symbolic links made through a mount that are remembered, so that those that lead out of the share can be
    /// followed: about 200 bytes each.
    package static let ownLinks = 16_384
    /// Files with several names whose changes are remembered for as long as listings are believed: 100 bytes each.
    package static let changedLinks = 4_096
    /// Bytes of a killed process' writes, queued and not sent, that are sent nevertheless: what a program that logs has
    /// written last. More is a copy that was given up.
    package static let unsentOfKilled = 262_144
    /// Bytes of a write at which the kernel may have cut it: its largest request, less what a page's beginning costs.
    package static let cutWrite = 1_048_576 - 4_095
    /// Filesystems of the peer whose statistics are remembered.
    package static let filesystems = 64
    /// Seconds after a program has set a file's times in which pages that it changed through a mapping before that are
    /// expected, and again after each of them: the kernel is made to write them at once.
    package static let settling = 1.0
    /// Files whose loss is told by name.
    package static let lostPaths = 16
  }

  /// Forwarded connections (p2pfs-forward(1)).
  package enum Forward {
    /// Connections of one session that this side opens channels for at a time; further ones wait to be accepted. Below
    /// `Channel.open`, so that what is asked besides finds room, and openings that overtake resets do, too.
    package static let connections = 100
    /// Connections that one peer can make this side have: all channels it may have open, and those that are still being
    /// connected though their channel is over already.
    package static let accepted = 160
    /// Listeners that one peer may ask for.
    package static let listeners = 8
    /// Seconds for which the place of a connection that failed stays taken, so that the peer has heard of its end before
    /// the next is opened.
    package static let rest = 1.0
    /// Longest target or address in its text form: with what stands before it, a channel's name.
    package static let endpoint = 170
    /// Longest path of a Unix socket: sun_path of Linux less the terminating NUL.
    package static let socketPath = 107
    /// Connections that wait to be accepted, of one listener: SOMAXCONN of most systems.
    package static let backlog = 128
    /// Threads that look up names: a few slow name servers do not stop the others, a hostile peer gets no more.
    package static let lookupThreads = 4
    /// Lookups that may wait for a thread, for all peers together.
    package static let lookups = 256
    /// Seconds for looking up a name and connecting to it together.
    package static let connect = 15.0
    /// Seconds between two tries to connect to a Unix socket whose backlog is full.
    package static let connectPause = 0.1
    /// Seconds for which a guest waits for an address where another one listens that may be gone: until that is noticed
    /// (`Session.vanished`), and less than `answer`.
    package static let takeover = 12.0
    /// Seconds between two looks at that.
    package static let takeoverPause = 0.5
    /// Seconds without an answer after which the user is told what is waited for.
    package static let notice = 2.0
    /// Seconds that a listener at the peer lasts before it counts as good: one that ends sooner is asked for again after
    /// a pause, of `listenPause` seconds at first.
    package static let lasting = 10.0
    package static let listenPause = 0.5
    /// Seconds for the other side's answer whether it allows what is wanted, its own lookups included.
    package static let answer = 20.0
    /// Bytes of the peer's that wait in this process for one local socket above which no more are taken, and below which
    /// more are.
    package static let highWater = 131_072
    package static let lowWater = 32_768
    /// Connections with one peer, in each direction, whose receive buffers the kernel may widen as it likes, up to
    /// net.ipv4.tcp_rmem (6 MiB): else a program that is far from this computer, too, would be slow. Few, since what the
    /// kernel holds of a connection is read into memory when the other program closes it, window or not.
    package static let wide = 8
    /// Receive buffer of the others. Linux gives no more without privileges (net.core.rmem_max).
    package static let receiveBuffer = 212_992
    /// Seconds of silence after which the other end of a TCP connection is asked for a sign of life, seconds between such
    /// questions, and how many may stay without an answer: a computer that vanished is noticed within two minutes, and
    /// does not hold one of `connections` for ever.
    package static let keepAliveIdle = 60
    package static let keepAliveInterval = 15
    package static let keepAliveProbes = 4
    /// Reads in a row from one connection before others have their turn.
    package static let readsAtOnce = 4
    /// Tries to find a port that is free at all addresses of a listener, when any will do.
    package static let portTries = 8
    /// Seconds until connections are accepted again after the process ran out of descriptors.
    package static let acceptPause = 0.5
  }
}
