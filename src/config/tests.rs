//! Tests of `config`.

use sipcast_control::sip_endpoint::{AudioCodecs, SrtpSuites};

use super::*;

fn load(file: &str, variables: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let path = std::env::temp_dir().join(format!(
        "sipcast-config-{}-{:?}.toml",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, file).expect("a writable temporary directory");
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let config = Config::load(
        &[("media.shards", "9"), ("sip.listen", "127.0.0.1:5060")],
        Some(&path),
        owned(variables),
        &owned(settings),
    );
    std::fs::remove_file(&path).expect("just written");
    config
}

#[test]
fn apps_are_a_list_in_the_file_and_show_no_secret() {
    let app = |key: &str| format!("[[apps]]\nkey = \"{key}\"\nurl = \"http://h/hook?t0ken\"\n");
    let config = load(&(app("a") + &app("b")), &[], &[]).expect("two apps");
    assert_eq!(config.apps.iter().map(|app| app.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!format!("{config:?}").contains("t0ken"));
    assert!(load(&(app("a") + &app("a")), &[], &[]).is_err(), "one key, two URLs");
    assert!(load(&app(""), &[], &[]).is_err());
}

#[test]
fn the_example_documents_exactly_the_defaults() {
    let example: Config = toml::from_str(EXAMPLE).expect("the example is valid");
    assert_eq!(example, Config::default());
}

#[test]
fn flags_beat_variables_beat_the_file() {
    let file = "[media]\nport_min = 2000\nport_max = 3000\nshards = 1\n";
    let variables = [("SIPCAST_MEDIA_PORT_MAX", "4000"), ("SIPCAST_MEDIA_SHARDS", "2"), ("HOME", "/")];
    let config = load(file, &variables, &[("media.shards", "3")]).expect("valid");
    assert_eq!((config.media.port_min, config.media.port_max, config.media.shards), (2000, 4000, 3));
    assert_eq!(load(file, &[], &[]).expect("valid").media.shards, 1, "the file beats built-in defaults");
    assert_eq!(load("", &[], &[]).expect("valid").media.shards, 9);
    let config = load("", &[], &[("rtmp.stream_name_prefix", ""), ("sip.tcp", "false")]).expect("valid");
    assert_eq!((config.rtmp.stream_name_prefix.as_str(), config.sip.tcp), ("", false));
    let config = load("", &[], &[("rtmp.stream_name_prefix", "12")]).expect("valid");
    assert_eq!(config.rtmp.stream_name_prefix, "12");
}

#[test]
fn offers_are_checked_and_the_defaults_are_those_of_the_sip_side() {
    for (key, wrong) in [
        ("media.audio_codecs", "opus, g729"),
        ("media.packet_time_ms", "5"),
        ("media.srtp_suites", "AEAD_AES_256_GCM"),
        ("media.video_macroblocks_max", "1"),
        ("media.video_macroblocks_per_s_max", "1"),
        ("media.video_bit_rate_bps_max", "1000"),
    ] {
        let error = load("", &[], &[(key, wrong)]).expect_err(key).to_string();
        assert!(error.starts_with(key), "{error}");
    }
    let error = load("", &[], &[("sip.media_security", "maybe")]).expect_err("unknown").to_string();
    assert!(error.contains("opportunistic"), "{error}");
    let config = load("", &[("SIPCAST_SIP_MEDIA_SECURITY", "mandatory")], &[]).expect("valid");
    assert_eq!(config.sip.media_security, MediaSecurity::Mandatory);
    assert_eq!(Media::default().audio_codecs, AudioCodecs::default().to_string());
    assert_eq!(Media::default().srtp_suites, SrtpSuites::default().to_string());
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = load("[sip]\n\nlissten = \"1.2.3.4:5060\"\n", &[], &[]).expect_err("unknown").to_string();
    assert!(text.contains("line 3") && text.contains("lissten") && text.contains("listen"), "{text}");
}

#[test]
fn each_source_names_itself_in_its_error() {
    let text = |variables: &[(&str, &str)], settings: &[(&str, &str)]| {
        load("", variables, settings).expect_err("wrong").to_string()
    };
    assert!(text(&[("SIPCAST_MEDIA_SHARDS", "many")], &[]).contains("SIPCAST_MEDIA_SHARDS"));
    assert!(text(&[("SIPCAST_NONSENSE", "1")], &[]).contains("nonsense"));
    assert!(text(&[], &[("rest.port", "1")]).contains("--set rest.port"));
    assert!(text(&[], &[("media.gather_ms", "21")]).contains("media.gather_ms must be from 0 to 20"));
    assert!(text(&[], &[("media.cores", "two")]).contains("media.cores must be auto, any, or numbers"));
    for more in
        [[("media.cores", "0,1"), ("media.shards", "3")], [("media.cores", "0-256"), ("media.shards", "0")]]
    {
        let text = text(&[], &more);
        assert!(
            text.contains("media.cores must be a core for each of media.shards, and at most 256"),
            "{text}"
        );
    }
    assert!(
        text(&[], &[("media.sound_wait_ms", "201")]).contains("media.sound_wait_ms must be from 0 to 200")
    );
    assert!(text(&[], &[("audio.sample_rate_hz", "11025")]).contains("44100"));
}

#[test]
fn a_missing_file_is_named() {
    let path = Path::new("/nonexistent/sipcast.toml");
    let error = Config::load(&[], Some(path), [], &[]).expect_err("missing").to_string();
    assert!(error.contains("/nonexistent/sipcast.toml"), "{error}");
}
