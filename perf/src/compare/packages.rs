//! The peers' programs: what is missing is installed as a Debian package.
//! Takes: which systems are compared. Gives: nothing, but their programs are there then.
//! Leaves out: versions (`machine`).

use std::process::Stdio;

use anyhow::Context;
use tokio::process::Command;

use super::system::System;

/// What a system needs: how to see that it is there, and the package that brings it.
struct Need {
    check: &'static [&'static str],
    package: &'static str,
}

const FFMPEG: &[Need] = &[Need { check: &["ffmpeg", "-version"], package: "ffmpeg" }];

const GSTREAMER: &[Need] = &[
    Need { check: &["gst-launch-1.0", "--version"], package: "gstreamer1.0-tools" },
    Need { check: &["gst-inspect-1.0", "--exists", "udpsrc"], package: "gstreamer1.0-plugins-good" },
    Need { check: &["gst-inspect-1.0", "--exists", "audioresample"], package: "gstreamer1.0-plugins-base" },
    Need { check: &["gst-inspect-1.0", "--exists", "rtmp2sink"], package: "gstreamer1.0-plugins-bad" },
    Need { check: &["gst-inspect-1.0", "--exists", "voaacenc"], package: "gstreamer1.0-plugins-bad" },
    Need { check: &["gst-inspect-1.0", "--exists", "h264parse"], package: "gstreamer1.0-plugins-bad" },
];

/// Installs what `systems` need and is missing; with `may_install` false it only says so.
///
/// # Errors
/// Names the packages that are missing or could not be installed.
pub(super) async fn provide(systems: &[System], may_install: bool) -> anyhow::Result<()> {
    let missing = missing(systems).await;
    if missing.is_empty() {
        return Ok(());
    }
    anyhow::ensure!(may_install, "missing: {}; install them or leave --no-install out", missing.join(" "));
    eprintln!("perf: installing {}", missing.join(" "));
    apt_get(&["update", "-qq"]).await?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    apt_get(&install).await?;
    let still = self::missing(systems).await;
    anyhow::ensure!(still.is_empty(), "{} did not bring what is needed", still.join(" "));
    Ok(())
}

/// What the programs of `systems` say of themselves, a line each.
pub(super) async fn versions(systems: &[System]) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for system in systems {
        let command: &[&str] = match system {
            System::Sipcast | System::Floor => continue,
            System::Ffmpeg | System::FfmpegFast => &["ffmpeg", "-version"],
            System::Gstreamer | System::GstreamerOne => &["gst-launch-1.0", "--version"],
        };
        let Ok(output) = Command::new(command[0]).args(&command[1..]).output().await else { continue };
        let text = String::from_utf8_lossy(&output.stdout);
        // gst-launch names itself first; the line with the version of GStreamer follows.
        let line = text.lines().find(|line| line.starts_with("ffmpeg") || line.starts_with("GStreamer"));
        if let Some(line) = line
            && !versions.iter().any(|known| known == line)
        {
            versions.push(line.to_owned());
        }
    }
    versions
}

async fn missing(systems: &[System]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for need in systems.iter().flat_map(|system| needs(*system)) {
        if !missing.contains(&need.package) && !succeeds(need.check).await {
            missing.push(need.package);
        }
    }
    missing
}

const fn needs(system: System) -> &'static [Need] {
    match system {
        System::Sipcast | System::Floor => &[],
        System::Ffmpeg | System::FfmpegFast => FFMPEG,
        System::Gstreamer | System::GstreamerOne => GSTREAMER,
    }
}

async fn succeeds(command: &[&str]) -> bool {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process.status().await.is_ok_and(|status| status.success())
}

async fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let is_root = Command::new("id").arg("-u").output().await.is_ok_and(|output| output.stdout == b"0\n");
    let mut command = if is_root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().await.context("apt-get: install the packages by hand")?;
    anyhow::ensure!(status.success(), "apt-get {}: {status}", arguments.join(" "));
    Ok(())
}
