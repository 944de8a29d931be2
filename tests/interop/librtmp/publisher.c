/* Publishes an FLV file with librtmp in its own time, as encoders built on librtmp do.
 * usage: publisher <librtmp URL with its options> <FLV file>
 * Prints "publishing" when the server let it, exits with 1 when it did not or went away. */
#include <librtmp/log.h>
#include <librtmp/rtmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FILE_HEADER = 13, TAG_HEADER = 11, TAG_TRAILER = 4 };

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Takes what the server says for so long: pings, acknowledgements, statuses. */
static int listen_until(RTMP *rtmp, long deadline_ms) {
    struct pollfd socket = {.fd = RTMP_Socket(rtmp), .events = POLLIN};
    for (;;) {
        long wait_ms = deadline_ms - now_ms();
        if (poll(&socket, 1, wait_ms > 0 ? (int)wait_ms : 0) <= 0)
            return 1;
        RTMPPacket packet = {0};
        if (!RTMP_ReadPacket(rtmp, &packet))
            return 0;
        if (RTMPPacket_IsReady(&packet)) {
            RTMP_ClientPacket(rtmp, &packet);
            RTMPPacket_Free(&packet);
        }
    }
}

int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (!file || fseek(file, FILE_HEADER, SEEK_SET))
        return 2;
    RTMP_LogSetLevel(RTMP_LOGWARNING);
    RTMP *rtmp = RTMP_Alloc();
    RTMP_Init(rtmp);
    if (!RTMP_SetupURL(rtmp, argv[1]))
        return 2;
    RTMP_EnableWrite(rtmp);
    if (!RTMP_Connect(rtmp, NULL) || !RTMP_ConnectStream(rtmp, 0))
        return 1;
    puts("publishing");
    fflush(stdout);

    long start_ms = now_ms();
    unsigned char header[TAG_HEADER];
    while (fread(header, 1, TAG_HEADER, file) == TAG_HEADER) {
        int size = header[1] << 16 | header[2] << 8 | header[3];
        long at_ms = (long)header[7] << 24 | header[4] << 16 | header[5] << 8 | header[6];
        int len = TAG_HEADER + size + TAG_TRAILER;
        char *tag = malloc(len);
        for (int i = 0; i < TAG_HEADER; i++)
            tag[i] = (char)header[i];
        if (fread(tag + TAG_HEADER, 1, len - TAG_HEADER, file) != (size_t)(len - TAG_HEADER))
            return 2;
        if (!listen_until(rtmp, start_ms + at_ms) || RTMP_Write(rtmp, tag, len) <= 0)
            return 1;
        free(tag);
    }
    RTMP_Close(rtmp);
    RTMP_Free(rtmp);
    return 0;
}
