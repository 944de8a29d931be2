//! The command lines of ffmpeg and GStreamer for a call: H.264 passed through, PCMU to AAC, RTMP out.
//! Takes: where the call's RTP comes in, and where its RTMP goes. Gives: arguments.
//! Leaves out: starting them (`gateway`).

use std::path::Path;

/// AAC as the product makes it: mono.
pub(super) const SAMPLE_RATE_HZ: u32 = 48_000;
pub(super) const BIT_RATE_BPS: u32 = 64_000;
/// How long GStreamer waits for reordered packets, in ms: half as long as the product does, which waits only when a
/// packet is missing.
const JITTER_MS: u32 = 30;

/// One call as a peer sees it.
#[derive(Clone, Debug)]
pub(super) struct PeerCall {
    pub audio_port: u16,
    pub video_port: u16,
    /// Base64 of SPS and PPS, with a comma between them.
    pub parameter_sets: String,
    pub rtmp_url: String,
}

/// Arguments of `ffmpeg` for a call described by the file `description`.
pub(super) fn ffmpeg(description: &Path, is_fast: bool, rtmp_url: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        "-nostdin -hide_banner -loglevel error -protocol_whitelist file,udp,rtp -i"
            .split(' ')
            .map(str::to_owned)
            .collect();
    arguments.push(description.display().to_string());
    // Which one is the default has changed between versions.
    let coder = if is_fast { "fast" } else { "twoloop" };
    let rest = format!(
        "-map 0:v -map 0:a -c:v copy -c:a aac -aac_coder {coder} -ar {SAMPLE_RATE_HZ} -ac 1 -b:a {BIT_RATE_BPS} -f flv"
    );
    arguments.extend(rest.split(' ').map(str::to_owned));
    arguments.push(rtmp_url.to_owned());
    arguments
}

/// Arguments of `gst-launch-1.0` for `calls`, a pipeline each.
pub(super) fn gst_launch(calls: &[PeerCall]) -> Vec<String> {
    let mut arguments = vec!["-q".to_owned()];
    for (number, call) in calls.iter().enumerate() {
        let PeerCall { audio_port, video_port, parameter_sets, rtmp_url } = call;
        let video = format!(
            "application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96,\
             sprop-parameter-sets=(string)\"{parameter_sets}\""
        );
        let audio = "application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0";
        let pipeline = [
            format!("flvmux name=mux{number} streamable=true ! rtmp2sink location={rtmp_url}"),
            format!(
                "udpsrc address=127.0.0.1 port={video_port} caps={video} ! rtpjitterbuffer latency={JITTER_MS} ! \
                 rtph264depay ! h264parse ! mux{number}."
            ),
            format!(
                "udpsrc address=127.0.0.1 port={audio_port} caps={audio} ! rtpjitterbuffer latency={JITTER_MS} ! \
                 rtppcmudepay ! mulawdec ! audioconvert ! audioresample ! \
                 audio/x-raw,rate={SAMPLE_RATE_HZ},channels=1 ! voaacenc bitrate={BIT_RATE_BPS} ! aacparse ! \
                 mux{number}."
            ),
        ];
        arguments.extend(pipeline.iter().flat_map(|part| part.split(' ')).map(str::to_owned));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> PeerCall {
        PeerCall {
            audio_port: 20_000,
            video_port: 20_002,
            parameter_sets: "Z0I=,aM4=".to_owned(),
            rtmp_url: "rtmp://127.0.0.1:1935/live/call-0".to_owned(),
        }
    }

    #[test]
    fn ffmpeg_copies_the_picture_and_takes_the_coder_asked_for() {
        let url = call().rtmp_url;
        let fast = ffmpeg(Path::new("/tmp/a b.sdp"), true, &url).join("|");
        assert!(fast.contains("-i|/tmp/a b.sdp|") && fast.contains("-c:v|copy"), "{fast}");
        assert!(fast.contains("-aac_coder|fast|-ar|48000|-ac|1|-b:a|64000|-f|flv|rtmp://"), "{fast}");
        assert!(ffmpeg(Path::new("a"), false, &url).contains(&"twoloop".to_owned()));
    }

    #[test]
    fn gstreamer_gets_a_pipeline_a_call_with_names_of_their_own() {
        let arguments = gst_launch(&[call(), call()]).join(" ");
        assert!(arguments.contains("name=mux0 ") && arguments.contains("name=mux1 "), "{arguments}");
        assert_eq!(arguments.matches("! mux1.").count(), 2);
        assert!(arguments.contains("port=20002 caps=application/x-rtp,media=video"), "{arguments}");
        assert!(arguments.contains("sprop-parameter-sets=(string)\"Z0I=,aM4=\""), "{arguments}");
    }
}
