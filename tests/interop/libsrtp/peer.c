/* Protects and unprotects packets with libsrtp: the other side of srtp_against_others.rs.
 * usage: peer <suite> <master key and salt in hexadecimal>
 * A line of input: "protect rtp <hex>", "unprotect rtcp <hex>" and so on; a line of output: the packet or "error <code>". */
#include <srtp2/srtp.h>
#include <stdio.h>
#include <string.h>

enum { PACKET_MAX = 2048 };

static int from_hex(const char *text, unsigned char *out) {
    int len = 0;
    unsigned byte;
    while (len < PACKET_MAX && sscanf(text + 2 * len, "%2x", &byte) == 1)
        out[len++] = byte;
    return len;
}

static int set_suite(srtp_policy_t *policy, const char *suite) {
    if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_80")) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy->rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy->rtcp);
    } else if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_32")) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy->rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(&policy->rtcp);
    } else if (!strcmp(suite, "AEAD_AES_128_GCM")) {
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy->rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy->rtcp);
    } else {
        return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    static unsigned char key[PACKET_MAX], packet[PACKET_MAX + SRTP_MAX_TRAILER_LEN];
    static char line[2 * PACKET_MAX + 64], action[16], kind[16], hex[2 * PACKET_MAX + 1];
    srtp_policy_t policy;
    srtp_t inbound, outbound;
    if (argc != 3)
        return 2;
    memset(&policy, 0, sizeof policy);
    from_hex(argv[2], key);
    policy.key = key;
    policy.window_size = 1024;
    if (srtp_init() || !set_suite(&policy, argv[1]))
        return 2;
    policy.ssrc.type = ssrc_any_inbound;
    if (srtp_create(&inbound, &policy))
        return 2;
    policy.ssrc.type = ssrc_any_outbound;
    if (srtp_create(&outbound, &policy))
        return 2;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%15s %15s %4096s", action, kind, hex) == 3) {
        int len = from_hex(hex, packet), is_rtp = !strcmp(kind, "rtp");
        srtp_err_status_t status =
            !strcmp(action, "protect")
                ? (is_rtp ? srtp_protect(outbound, packet, &len) : srtp_protect_rtcp(outbound, packet, &len))
                : (is_rtp ? srtp_unprotect(inbound, packet, &len) : srtp_unprotect_rtcp(inbound, packet, &len));
        if (status)
            printf("error %d", status);
        else
            for (int at = 0; at < len; at++)
                printf("%02x", packet[at]);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
