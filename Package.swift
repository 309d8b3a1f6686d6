// swift-tools-version: 6.1
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// A layer: one folder under Sources. Arrows point down only (see ARCHITECTURE.md). The target's name begins with P2PFS,
/// because the names of all targets of a program have to differ, those of its packages among them.
func layer(_ folder: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: "P2PFS\(folder)", dependencies: dependencies, path: "Sources/\(folder)", swiftSettings: settings)
}

/// A system library. Its shims are static inline functions for what Swift cannot import.
func clang(_ folder: String, pkgConfig: String? = nil, apt package: String? = nil) -> Target {
  .systemLibrary(
    name: "CP2PFS\(folder.dropFirst())", path: "Sources/\(folder)", pkgConfig: pkgConfig,
    providers: package.map { [.apt([$0])] })
}

/// The unit tests of one layer.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// A program of a user of the library: it sees no more than the public API.
func example(_ name: String) -> Target {
  .executableTarget(
    name: name, dependencies: ["P2PFS"], path: "examples/\(name)", packageAccess: false, swiftSettings: settings)
}

/// The layer in `Sources/FOLDER`, to depend on.
func on(_ folders: String...) -> [Target.Dependency] { folders.map { .target(name: "P2PFS\($0)") } }

let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let collections = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nio: [Target.Dependency] = [
  nioCore, nioPosix,
  .product(name: "NIOHTTP1", package: "swift-nio"),
  .product(name: "NIOTLS", package: "swift-nio"),
  .product(name: "NIOWebSocket", package: "swift-nio"),
  .product(name: "NIOSSL", package: "swift-nio-ssl"),
]
let (fuse, nice, usrsctp): (Target.Dependency, Target.Dependency, Target.Dependency) = (
  "CP2PFSFuse3", "CP2PFSNice", "CP2PFSUsrsctp"
)
let (openSSL, linux): (Target.Dependency, Target.Dependency) = ("CP2PFSOpenSSL", "CP2PFSLinux")

let package = Package(
  name: "p2pfs",
  // Programs are products of this package without being named. Named, they would bring layers that the library does not
  // need, Mount among them, into the packages of its users, where the names of all targets have to differ.
  products: [.library(name: "P2PFS", targets: ["P2PFS"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
  ],
  targets: [
    clang("CFuse3", pkgConfig: "fuse3", apt: "libfuse3-dev"),
    clang("CNice", pkgConfig: "glib-2.0", apt: "libnice-dev"),
    clang("CUsrsctp", apt: "libusrsctp-dev"),
    clang("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
    clang("CLinux"),

    // Layers, lowest first.
    layer("Core", [linux, system]),
    layer("Wire", on("Core") + [system]),
    layer("Pairing", on("Core") + [openSSL]),
    layer("Signaling", on("Core") + [openSSL, log] + nio),
    layer("Transport", on("Core") + [linux, nice, usrsctp, openSSL, collections]),
    layer("Session", on("Core", "Wire") + [collections, log, system]),
    layer("Export", on("Core", "Wire", "Session") + [linux, collections, system]),
    layer("Pipes", on("Core", "Wire", "Session") + [linux, system]),
    layer("Transfer", on("Core", "Wire", "Session", "Export") + [linux, openSSL, collections, system]),
    layer("FUSE", on("Core") + [fuse, system]),
    layer("Mount", on("Core", "Wire", "Session", "FUSE") + [linux, collections, log, system]),
    layer("Forward", on("Core", "Wire", "Session") + [log, nioCore, nioPosix]),
    layer("Meeting", on("Core", "Session", "Pairing", "Signaling", "Transport") + [log, system]),
    .target(
      name: "P2PFS",
      dependencies: on("Core", "Wire", "Session", "Export", "Meeting", "Pairing", "Signaling", "Transport")
        + [collections, system],
      swiftSettings: settings),

    .executableTarget(
      name: "p2pfs",
      dependencies: on(
        "Core", "Wire", "Pairing", "Signaling", "Transport", "Session", "Export", "Pipes", "Transfer", "FUSE", "Mount",
        "Forward", "Meeting") + [linux, arguments, log, system],
      swiftSettings: settings),
    .executableTarget(
      name: "p2pfs-bench", dependencies: on("Core", "Transport") + [arguments], swiftSettings: settings),

    // What the library's users start from: each is one file.
    example("echo-server"),
    example("echo-client"),
    example("chat"),

    // What several test targets share: links in memory, temporary directories.
    .target(
      name: "Rig", dependencies: on("Core", "Session") + [linux, system], path: "Tests/Rig", swiftSettings: settings),
    // A peer that plays by no rule, for the tests end to end.
    .executableTarget(
      name: "hostile-peer", dependencies: on("Core", "Wire", "Pairing", "Session", "Transfer", "Meeting"),
      path: "Tests/HostilePeer", swiftSettings: settings),
    // The rules of ARCHITECTURE.md, held against the sources.
    tests("ArchitectureTests", []),
    tests("CoreTests", on("Core") + [system]),
    tests("WireTests", on("Core", "Wire") + [system]),
    tests("PairingTests", on("Core", "Pairing")),
    tests("SignalingTests", on("Core", "Signaling") + [nioCore]),
    .testTarget(
      name: "TransportTests", dependencies: on("Core", "Transport") + [nice], exclude: ["aiortc_peer.py"],
      swiftSettings: settings),
    tests("SessionTests", on("Core", "Wire", "Session") + ["Rig", system]),
    tests(
      "MeetingTests",
      on("Core", "Pairing", "Signaling", "Transport", "Session", "Meeting") + ["Rig", linux, system]),
    tests(
      "P2PFSTests",
      on("Core", "Wire", "Pairing", "Signaling", "Transport", "Session", "Export", "Meeting")
        + ["P2PFS", "Rig", "DocumentedExamples", system]),
    // What the documentation shows: compiled as a user's program is.
    .target(
      name: "DocumentedExamples", dependencies: ["P2PFS"], path: "Tests/DocumentedExamples", packageAccess: false,
      swiftSettings: settings),
    tests("ExportTests", on("Core", "Wire", "Session", "Export") + ["Rig", linux, system]),
    tests("TransferTests", on("Core", "Wire", "Session", "Export", "Transfer") + ["Rig", system]),
    tests("PipesTests", on("Core", "Wire", "Session", "Pipes") + ["Rig", system]),
    tests("MountTests", on("Core", "Wire", "Session", "Export", "FUSE", "Mount") + ["Rig", log, system]),
    tests("ForwardTests", on("Core", "Wire", "Session", "Forward") + ["Rig", nioCore]),
    tests(
      "CommandTests",
      on("Core", "Pairing", "Signaling", "Transport", "Session", "Meeting", "FUSE")
        + ["Rig", "p2pfs", arguments, system]),
    tests("EndToEndTests", on("Core") + ["Rig", linux, system]),
  ],
  swiftLanguageModes: [.v6]
)
