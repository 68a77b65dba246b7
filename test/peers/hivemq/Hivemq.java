import com.hivemq.embedded.EmbeddedHiveMQ;
import java.nio.file.Path;

/** Serves a HiveMQ CE that admits everybody, for measurements beside lmqgate. The argument is a directory with conf, data and extensions. */
public final class Hivemq {
    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(home.resolve("conf"))
                .withDataFolder(home.resolve("data"))
                .withExtensionsFolder(home.resolve("extensions"))
                .build();
        broker.start().join();
        Thread.currentThread().join(); // until a signal ends the process
    }
}
