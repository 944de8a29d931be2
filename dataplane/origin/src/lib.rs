//! embedded RTMP server with HTTP-FLV and WebSocket-FLV playback
